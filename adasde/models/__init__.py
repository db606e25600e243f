"""Pre-trained models, each as ``D(x, sigma)`` in EDM's coordinates."""

from adasde.models.loading import load_model

__all__ = ["load_model"]
