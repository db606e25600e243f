"""InceptionV3, the feature extractor of FID."""

from adasde.models.families.inception import network
from adasde.models.registry import register

register(network.FAMILY, build=lambda card, about: network.Inception(), convert=network.convert)
