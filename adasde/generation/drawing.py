"""Images of any seeds by distilled coefficients, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache, partial
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from adasde.errors import DataError
from adasde.generation.conditions import Conditions, check_conditions, conditioned, described
from adasde.generation.sinks import open_sink
from adasde.models.loading import load_model
from adasde.sampling import integrate
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.noise import SeededNoise, latents
from adasde.types import Model
from adasde.utils.atomic_io import sha256_json
from adasde.utils.batching import chunks, in_chunks
from adasde.utils.devices import rank_of
from adasde.utils.parallel import spread
from adasde.utils.pixels import to_uint8
from adasde.utils.progress import track

Solve = Callable[..., Tensor]
"""``solve(denoise, latents, noise=noise)`` returns the final states."""


@dataclass(frozen=True)
class Request:
    """Sampling settings as plain data, which can be sent to other machines.

    Attributes:
        model: a packaged model, or a checkpoint folder that every worker can read.
        coefficients: the document of a coefficient file (``Coefficients.to_document``).
        guidance: of classifier-free guidance; 1: none.
        device: where the network runs.
        conditions: classes or prompts that alternate by the seed; none: those of ``Model.bind``.
    """

    model: str
    coefficients: Mapping[str, Any]
    guidance: float = 1.0
    device: str = "cpu"
    conditions: tuple[int, ...] | tuple[str, ...] = ()

    @classmethod
    def of(cls, table: Coefficients, *, model: str | None = None, device: str = "cpu") -> Request:
        """The model (unless ``model`` is given) and guidance that the coefficients were distilled for.

        Raises:
            DataError: they name no model, and ``model`` is None.
        """
        name = model or table.model.get("name")
        if not name:
            raise DataError("the coefficient file names no model: say which with --model NAME or FOLDER.")
        guidance = float(table.model.get("guidance") or 1.0)
        return cls(str(name), table.to_document(), guidance, device)

    @property
    def table(self) -> Coefficients:
        """The coefficients."""
        return Coefficients.from_document(dict(self.coefficients))

    def about(self) -> dict[str, Any]:
        """Everything that an image depends on beside its seed."""
        model = self.load()
        table = {key: value for key, value in self.coefficients.items() if key != "measured"}
        return {
            "model": model.name,
            "weights": model.sha256,
            "coefficients": sha256_json(table),
            "guidance": self.guidance,
            **described(model, self.conditions),
        }

    def load(self) -> Model:
        """The model, loaded once in a process; weights and conditions are checked.

        Raises:
            CheckpointError: it cannot be loaded.
            CoefficientsError: the coefficients were distilled for another checkpoint.
            ParamsError: it does not take these classes or prompts.
        """
        with _loading:
            model = cached_model(self.model, self.device)
        self.table.check_model(model.sha256)
        check_conditions(model, self.conditions)
        return model


_loading = Lock()  # a worker of Dask may have several threads


@lru_cache(maxsize=2)
def cached_model(model: str, device: str) -> Model:
    """``load_model``, once in a process."""
    return load_model(model, device=device)


@torch.no_grad()
def sample_by(
    solve: Solve, request: Request, seeds: Sequence[int], *, conditions: Conditions | None = None
) -> Tensor:
    """Images uint8 [len(seeds), C, H, W] on the CPU by any sampler; see ``draw_seeds``."""
    model = request.load()
    turns: Any = request.conditions
    if conditions is None and turns:
        conditions = [turns[seed % len(turns)] for seed in seeds]
    denoise = conditioned(model, seeds, conditions, guidance=request.guidance)
    start = latents(seeds, model.shape, device=request.device)
    return to_uint8(model.images(solve(denoise, start, noise=SeededNoise(seeds)))).cpu()


def draw_seeds(request: Request, seeds: Sequence[int], *, conditions: Conditions | None = None) -> Tensor:
    """Images uint8 [len(seeds), C, H, W] on the CPU; image k depends on seeds[k] and its condition alone.

    ``conditions``: the class or prompt of every image, in place of those of the request.

    Raises:
        CheckpointError, CoefficientsError, ParamsError: as ``Request.load``.
    """
    solve = partial(integrate.sample, coefficients=request.table)
    return sample_by(solve, request, seeds, conditions=conditions)


def draw_batch(request: Request, out: str, seeds: list[int]) -> int:
    """Draw a batch into the sink at ``out``, in this process; returns the number of images."""
    open_sink(out).add(seeds, in_chunks(seeds, len(seeds), partial(draw_seeds, request)))
    return len(seeds)


def draw_images(
    request: Request, out: str, seeds: Sequence[int], *, batch: int = 64, pool: Executor | None = None
) -> tuple[int, int]:
    """Draw the images of ``seeds`` that the sink at ``out`` does not have yet; (drawn, found).

    Under ``torchrun`` every process draws its share of the batches; ``pool`` draws them in parallel.

    Raises:
        CheckpointError, CoefficientsError, ParamsError: as ``Request.load``.
        DataError: ``out`` cannot be written, or holds images of other settings.
        StoreError: a bucket cannot be reached.
    """
    about = request.about()
    sink = open_sink(out)
    sink.claim(about)
    rank, world = rank_of()
    mine = list(chunks(seeds, batch))[rank::world]
    done = sink.finished([seed for piece in mine for seed in piece])
    missing = [rest for piece in mine if (rest := [seed for seed in piece if seed not in done])]
    drawn, total = sum(map(len, missing)), sum(map(len, mine))
    with track(total, "sample", "images", done=total - drawn) as advance:
        for _, count in spread(partial(draw_batch, request, out), missing, pool):
            advance(count)
    return drawn, total - drawn
