"""Text-to-image models: the prompt of an image, and guidance towards it."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Sequence
from copy import copy
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from adasde.errors import CheckpointError, SolverError
from adasde.models.core.conditioning import Conditional
from adasde.types import Denoiser

NONE = ""  # the prompt that says nothing
COLUMNS = ("caption", "prompt", "text")
WANTED = "Give a text file with one prompt a line, or a .csv with a column caption, prompt or text."
REMEMBERED = 256  # prompts whose embeddings are kept

Encode = Callable[[str], tuple[Tensor, ...]]
"""A prompt -> the network's conditions for it, each [1, ...]."""


Source = Sequence[str] | str | os.PathLike[str] | None


def read_prompts(source: Source) -> list[str]:
    """A list of prompts as it is, or those of a file (UTF-8): its lines, or a column of a ``.csv``.

    The column is called caption, prompt or text. Prompts become one line each; empty ones are left out.

    Raises:
        CheckpointError: the file cannot be read, or there is no prompt in it.
    """
    if source is None:
        return []
    if not isinstance(source, str | os.PathLike):
        return list(source)
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8-sig")
        entries = _column(text) if path.suffix.lower() == ".csv" else text.splitlines()
    except (OSError, ValueError, csv.Error) as error:
        raise CheckpointError(f"the prompts {source} cannot be read ({error}). {WANTED}") from error
    prompts = [prompt for entry in entries if (prompt := " ".join(entry.split()))]
    if not prompts:
        raise CheckpointError(f"there are no prompts in {source}. {WANTED}")
    return prompts


def _column(text: str) -> list[str]:
    """Entries of a table in the first of ``COLUMNS`` (ValueError: it has none of them)."""
    rows = csv.DictReader(io.StringIO(text), strict=True)
    names = {name.strip().lower(): name for name in rows.fieldnames or ()}
    found = [names[name] for name in COLUMNS if name in names]
    if not found:
        raise ValueError(f"its columns are {', '.join(names) or 'not named'}, none is {', '.join(COLUMNS)}")
    return [row[found[0]] or "" for row in rows]


class Prompted:
    """``condition(seeds, guidance)`` of a text-to-image model: image k has the prompt ``seeds[k] % count``.

    Every prompt is encoded separately, so that an image depends on its own seed alone. Guidance goes from the
    empty prompt through the image's own and beyond, in one call that counts as two evaluations; where
    guidance is an input of the network (``guided``), it is one call that counts as one.
    """

    def __init__(
        self,
        network: Callable[..., Tensor],
        encode: Encode,
        prompts: Sequence[str],
        *,
        name: str,
        guided: bool = False,
    ) -> None:
        """``network(x, sigma, *embeddings)`` is D; ``name`` is the model's."""
        self.network = network
        self.encode = lru_cache(REMEMBERED)(encode)
        self.prompts = list(prompts)
        self.name = name
        self.guided = guided

    def of(self, prompts: Sequence[str]) -> Prompted:
        """The same for other prompts; embeddings that are known are not made again."""
        other = copy(self)
        other.prompts = list(prompts)
        return other

    def __call__(self, seeds: Sequence[int], guidance: float) -> Denoiser:
        """The denoiser of the images of these seeds.

        Raises:
            SolverError: the model has no prompts.
        """
        if not self.prompts:
            raise SolverError(
                f"the model {self.name!r} draws what prompts say and has none. Name a file of them in "
                "params.yaml (prompts: FILE), or give load_model(..., prompts=LIST_OR_FILE)."
            )
        wanted = [self.prompts[seed % len(self.prompts)] for seed in seeds]
        distinct = [*dict.fromkeys(wanted), NONE]
        labels = torch.tensor([distinct.index(prompt) for prompt in wanted])
        return self._bound(distinct, labels, guidance)

    def null(self, x: Tensor, sigma: Tensor) -> Tensor:
        """D for the empty prompt."""
        labels = torch.zeros(len(x), dtype=torch.int64)
        return self._bound([NONE], labels, 1.0)(x, sigma)

    def _bound(self, prompts: Sequence[str], labels: Tensor, guidance: float) -> Denoiser:
        """D with ``labels`` into ``prompts``, of which the last is that of no prompt."""
        parts = [torch.cat(part) for part in zip(*map(self.encode, prompts), strict=True)]
        if self.guided:
            parts.append(parts[0].new_full((len(prompts),), guidance))

        def network(x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
            return self.network(x, sigma, *(part[labels.to(part.device)] for part in parts))

        return Conditional(network, labels, null=len(prompts) - 1, guidance=1.0 if self.guided else guidance)
