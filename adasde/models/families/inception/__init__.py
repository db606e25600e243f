"""InceptionV3, the feature extractor of FID."""

from adasde.models.core.registry import register
from adasde.models.families.inception import network

register(network.FAMILY, build=lambda card, about: network.Inception(), convert=network.convert)
