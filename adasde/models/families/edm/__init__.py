"""The networks of EDM's published checkpoints, written from the papers, with the published parameter names.

DDPM++ and NCSN++ (Song et al., arXiv 2011.13456), ADM (Dhariwal and Nichol, arXiv 2105.05233), and the four
preconditioners of Table 1 of Karras et al. (arXiv 2206.00364).
"""

from __future__ import annotations

from adasde.models.core.registry import register
from adasde.models.families.edm import family
from adasde.models.families.edm.convert import convert

register(family.SONG, build=lambda card, about: family.song_unet(card.shape, about), convert=convert)
register(family.DHARIWAL, build=lambda card, about: family.dhariwal_unet(card.shape, about), convert=convert)
