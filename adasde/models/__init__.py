"""Pre-trained models, each brought to ``D(x, sigma)`` in EDM's coordinates."""

from adasde.models.core.precision import Runtime
from adasde.models.loading import load_model

__all__ = ["Runtime", "load_model"]
