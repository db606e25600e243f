"""OpenAI's U-Net (ADM, Consistency Models, latent diffusion) and its classifier, as networks of diffusers."""
