"""Latent diffusion: decoders from latents to images, and Stable Diffusion in one file."""

from adasde.models.families.ldm import autoencoder, stable
from adasde.models.registry import register

register(autoencoder.VQ, build=lambda card, about: autoencoder.Decoder(about), convert=autoencoder.convert)
register(stable.STABLE, build=lambda card, about: stable.StableDiffusion(about), convert=stable.convert)
