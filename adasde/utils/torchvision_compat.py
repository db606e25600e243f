"""torchvision beside a torch of another build, which other libraries import without asking."""

from __future__ import annotations

import sys
from functools import cache

import torch


@cache
def usable_torchvision() -> None:
    """Make ``import torchvision`` work, for torch-fidelity, transformers and diffusers import it.

    A torchvision of another build than torch's lacks the ``nms`` operators that its import asks for; they
    are declared, unused. Call it before those libraries are imported.
    """
    try:
        import torchvision  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        pass
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        _declare_nms()


@cache
def _declare_nms() -> torch.library.Library:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
