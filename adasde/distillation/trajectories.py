"""Teacher trajectories from disk: batches in a seeded order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adasde.distillation.losses import Batch, Features, features_in_chunks
from adasde.distillation.shards import fingerprints
from adasde.errors import DataError
from adasde.utils.manifest import Manifest
from adasde.utils.safetensors_io import load_tensors


class Trajectories:
    """Shards of trajectories, verified when opened; at most two of them are in memory at a time."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self.names = tuple(names)

    @classmethod
    def open(cls, folder: Path, plan: dict[str, range], *, made_from: dict[str, Any]) -> Trajectories:
        """Trajectories in ``folder``, which must hold all shards of ``plan``, made from ``made_from``.

        Raises:
            DataError: names the file that is missing, damaged, or made from other parameters.
        """
        Manifest.load(folder).verify(fingerprints(plan, made_from))
        return cls(folder, list(plan))

    def batches(
        self,
        size: int,
        *,
        seed: int,
        count: int,
        features: Features | None = None,
        device: str = "cpu",
    ) -> Iterator[Batch]:
        """``count`` batches of ``size`` trajectories, on ``device``; the same for the same seed.

        Every pass takes the shards, and the trajectories inside each, in a new order drawn from
        ``seed``; trajectories that do not fill a batch begin the next one. The ``features`` of the last
        states are computed in the first pass and kept.
        """
        stream = self._stream(torch.Generator().manual_seed(seed), features, device)
        seeds, states, known = next(stream)
        for _ in range(count):
            while len(seeds) < size:
                more_seeds, more_states, more = next(stream)
                seeds, states = torch.cat([seeds, more_seeds]), torch.cat([states, more_states], dim=1)
                known = torch.cat([known, more])
            yield Batch(seeds[:size].tolist(), states[:, :size], known[:size] if features else None)
            seeds, states, known = seeds[size:], states[:, size:], known[size:]

    def _stream(
        self, generator: torch.Generator, features: Features | None, device: str
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        kept: dict[str, Tensor] = {}
        while True:
            for index in torch.randperm(len(self.names), generator=generator).tolist():
                name = self.names[index]
                seeds, states = self._load(name)
                states = states.to(device)
                if features and name not in kept:
                    kept[name] = features_in_chunks(features, states[-1])
                order = torch.randperm(len(seeds), generator=generator)
                rows = order.to(device)
                yield seeds[order], states[:, rows], kept[name][rows] if features else seeds[order]

    def _load(self, name: str) -> tuple[Tensor, Tensor]:
        tensors = load_tensors(self.folder / name)
        try:
            return tensors["seeds"], tensors["states"]
        except KeyError as error:
            raise DataError(
                f"{self.folder / name} has no tensor {error}: it is not a shard of trajectories."
            ) from error
