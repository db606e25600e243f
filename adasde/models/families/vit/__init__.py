"""CLIP and DINOv2, the networks behind the CLIP score and FD-DINOv2."""

from adasde.models.core.registry import register
from adasde.models.families.vit import networks

register(networks.DINO, build=lambda card, about: networks.DinoV2(about), convert=networks.convert_dino)
register(networks.CLIP, build=lambda card, about: networks.Clip(about), convert=networks.convert_clip)
