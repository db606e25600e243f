"""Latent diffusion: decoders from latents to images, and Stable Diffusion in one file."""
