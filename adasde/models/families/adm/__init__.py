"""OpenAI's U-Net (ADM, Consistency Models, latent diffusion) and its classifier, as networks of diffusers."""

from adasde.models.core.registry import register
from adasde.models.families.adm import family

register(family.UNET, build=lambda card, about: family.unet(about), convert=family.convert_unet)
register(family.UNET_EDM, build=lambda card, about: family.unet(about), convert=family.convert_unet_edm)
register(family.LATENT_UNET, build=lambda card, about: family.unet(about), convert=family.convert_latent_unet)
register(
    family.CLASSIFIER, build=lambda card, about: family.classifier(about), convert=family.convert_classifier
)
