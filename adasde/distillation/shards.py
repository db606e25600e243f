"""Teacher trajectories on disk: shards of safetensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adasde.utils.atomic_io import sha256_json
from adasde.utils.manifest import Manifest


def shards(seeds: range, size: int) -> dict[str, range]:
    """File name -> the seeds in it: ``size`` consecutive seeds a shard, fewer in the last."""
    starts = range(0, len(seeds), size)
    return {
        f"shard-{index:05d}.safetensors": seeds[start : start + size] for index, start in enumerate(starts)
    }


def fingerprints(plan: dict[str, range], made_from: dict[str, Any]) -> dict[str, str]:
    """File name -> hash of its seeds and of the JSON value ``made_from``: all that the states depend on."""
    return {name: sha256_json([made_from, seeds.start, seeds.stop]) for name, seeds in plan.items()}


def write_trajectories(
    folder: Path,
    plan: dict[str, range],
    *,
    made_from: dict[str, Any],
    states: Callable[[Sequence[range]], Iterator[tuple[range, Tensor]]],
    reused: Callable[[int], None],
    others: Sequence[Path] = (),
) -> int:
    """Write the missing shards of ``plan``; returns their number.

    ``states(missing)`` yields the seeds of every missing shard and their states [N+1 or 2, B, *shape], in any
    order; ``reused(count)`` is called with the number of trajectories that exist already. Equal shards of the
    folders ``others`` are linked.

    Raises:
        DataError: the folder cannot be written or holds other files.
    """
    wanted = fingerprints(plan, made_from)
    manifest = Manifest.resume(folder, wanted, kind="trajectories", about=made_from)
    for other in others:
        manifest.adopt(other, wanted)
    missing = [name for name in plan if name not in manifest.entries]
    reused(sum(len(plan[name]) for name in manifest.entries))
    names = {plan[name]: name for name in missing}
    for seeds, computed in states([plan[name] for name in missing]):
        name = names[seeds]
        tensors = {"states": computed, "seeds": torch.tensor(seeds, dtype=torch.int64)}
        manifest.add(name, tensors, fingerprint=wanted[name], about={"seeds": [seeds.start, seeds.stop]})
    return len(missing)
