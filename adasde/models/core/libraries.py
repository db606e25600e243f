"""Optional libraries of other networks, imported when needed, and their error messages."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from types import ModuleType

from adasde.errors import CheckpointError
from adasde.utils.torchvision_compat import usable_torchvision

LONGEST = 400  # characters of another library's message within ours


def short(error: Exception) -> str:
    """The beginning of a message: PyTorch lists every single weight."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _imported(name: str) -> ModuleType:
    usable_torchvision()
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise CheckpointError(
            f"this model needs the Python package {error.name!r}, which is not installed. Install it with "
            "pip install 'adasde[models]'."
        ) from error


diffusers = partial(_imported, "diffusers")
transformers = partial(_imported, "transformers")
tokenizers = partial(_imported, "tokenizers")
"""``library()``: the module, imported when it is needed (CheckpointError: it is not installed)."""
