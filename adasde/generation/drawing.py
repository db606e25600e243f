"""Draw the images of seeds with distilled coefficients, piece by piece."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from adasde.errors import DataError
from adasde.generation.conditions import Asked, bound, check, recorded, turns
from adasde.generation.sinks import Place, open_place
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


@dataclass(frozen=True)
class Request:
    """What is drawn; plain data, so that it can be sent to other machines.

    Attributes:
        model: a packaged model, or a checkpoint folder that every worker can read.
        coefficients: the document of a coefficient file (``Coefficients.to_document``).
        guidance: of classifier-free guidance; 1: none.
        device: where the network runs.
        chosen: classes or prompts that take turns by the seed; none: those that ``Model.bind`` gives.
    """

    model: str
    coefficients: Mapping[str, Any]
    guidance: float = 1.0
    device: str = "cpu"
    chosen: tuple[int, ...] | tuple[str, ...] = ()

    @classmethod
    def of(cls, table: Coefficients, *, model: str | None = None, device: str = "cpu") -> Request:
        """What the coefficients were distilled for: their model (or ``model``) and guidance.

        Raises:
            DataError: they name no model, and ``model`` is none.
        """
        name = model or table.model.get("name")
        if not name:
            raise DataError("the coefficient file names no model: say which with --model NAME or FOLDER.")
        guidance = float(table.model.get("guidance") or 1.0)
        return cls(str(name), table.to_document(), guidance, device)

    def about(self, model: Model) -> dict[str, Any]:
        """All that an image depends on beside its seed."""
        table = {key: value for key, value in self.coefficients.items() if key != "measured"}
        return {
            "model": model.name,
            "weights": model.sha256,
            "coefficients": sha256_json(table),
            "guidance": self.guidance,
            **recorded(model, self.chosen),
        }

    def loaded(self) -> Model:
        """The network, after a look whether all fits together.

        Raises:
            CheckpointError: it cannot be loaded.
            CoefficientsError: the coefficients are another checkpoint's.
            ParamsError: classes or prompts that it does not take.
        """
        model = loaded(self.model, self.device)
        Coefficients.from_document(dict(self.coefficients)).check_model(model.sha256)
        check(model, self.chosen)
        return model


@lru_cache(maxsize=2)
def loaded(model: str, device: str) -> Model:
    """``load_model``, once in a process."""
    return load_model(model, device=device)


def draw_seeds(request: Request, seeds: Sequence[int], *, asked: Asked | None = None) -> Tensor:
    """The images of ``seeds``, uint8 [len(seeds), C, H, W] on the CPU; image k depends on seeds[k] alone.

    ``asked`` has the class or the prompt of every image, in place of those that its seed gives it.
    """
    model = loaded(request.model, request.device)
    table = Coefficients.from_document(dict(request.coefficients))
    table.check_model(model.sha256)  # a worker may have loaded what was at that place before
    start = latents(seeds, model.shape, device=request.device)
    if asked is None and request.chosen:
        asked = turns(request.chosen, seeds)
    denoise = bound(model, seeds, asked, guidance=request.guidance)
    return to_uint8(model.images(integrate.sample(denoise, start, table, SeededNoise(seeds)))).cpu()


def draw_piece(request: Request, out: str, seeds: list[int]) -> int:
    """Draw and keep one piece; returns how many images. A worker of a cluster runs this."""
    open_place(out).add(seeds, in_chunks(seeds, len(seeds), partial(draw_seeds, request)))
    return len(seeds)


def draw_images(
    request: Request, out: str, seeds: Sequence[int], *, batch: int = 64, pool: Executor | None = None
) -> tuple[int, int]:
    """Make the images of ``seeds`` that ``out`` does not hold yet; (made, found there).

    Under ``torchrun`` every process makes its share of the batches; ``pool`` draws them in parallel.

    Raises:
        CheckpointError, CoefficientsError, ParamsError: as ``Request.loaded``.
        DataError: ``out`` cannot be written, or holds images of other settings.
        StoreError: a bucket that cannot be reached.
    """
    about = request.about(request.loaded())
    place: Place = open_place(out)
    place.belongs(about)
    rank, world = rank_of()
    mine = [piece for k, piece in enumerate(chunks(seeds, batch)) if k % world == rank]
    done = place.finished([seed for piece in mine for seed in piece])
    missing = [rest for piece in mine if (rest := [seed for seed in piece if seed not in done])]
    made, total = 0, sum(map(len, mine))
    found = total - sum(map(len, missing))
    with torch.no_grad(), track(total, "sample", "images", done=found) as advance:
        for _, count in spread(partial(draw_piece, request, out), missing, pool):
            made += count
            advance(count)
    return made, found
