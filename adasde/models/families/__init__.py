"""Model families, a folder each: networks, converter, cards. Importing this package registers them all."""

from adasde.models.families import adm, edm, inception, ldm, toy, vit

__all__ = ["adm", "edm", "inception", "ldm", "toy", "vit"]
