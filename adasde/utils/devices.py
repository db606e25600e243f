"""The device that networks run on, and the rank of this process."""

from __future__ import annotations

import os
from collections.abc import Mapping

from adasde.errors import AdaSDEError

VARIABLE = "ADASDE_DEVICE"


def default_device() -> str:
    """The device named by ADASDE_DEVICE; else a GPU (under torchrun that of this process); else cpu.

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
            "or cuda:1, or unset it to use a GPU if there is one."
        ) from error
    return named


def rank_of(environ: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """(number of this process, number of processes) of a run by ``torchrun``; (0, 1) without it."""
    return int(environ.get("RANK", 0)), int(environ.get("WORLD_SIZE", 1))
