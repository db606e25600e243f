"""Where networks run, and which of several processes this one is."""

from __future__ import annotations

import os
from collections.abc import Mapping

from adasde.errors import AdaSDEError

VARIABLE = "ADASDE_DEVICE"


def default_device() -> str:
    """What ADASDE_DEVICE names; else a GPU where there is one, under torchrun the process's own; else cpu.

    Raises:
        AdaSDEError: ADASDE_DEVICE names no device of this machine.
    """
    import torch

    named = os.environ.get(VARIABLE)
    if not named:
        return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=named)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise AdaSDEError(
            f"{VARIABLE}={named} names no device that PyTorch can use here ({reason}). Set it to cpu, cuda "
            "or cuda:1, or unset it: then a GPU is taken where there is one."
        ) from error
    return named


def rank_of(environ: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """(number of this process, number of processes) of a run by ``torchrun``; (0, 1) without it."""
    return int(environ.get("RANK", 0)), int(environ.get("WORLD_SIZE", 1))
