"""Latent diffusion: decoders from latents to images, and Stable Diffusion in one file."""

from adasde.models.core.registry import register
from adasde.models.families.ldm import autoencoder, stable

register(autoencoder.VQ, build=lambda card, about: autoencoder.Decoder(about), convert=autoencoder.convert)
register(stable.STABLE, build=lambda card, about: stable.StableDiffusion(about), convert=stable.convert)
