"""Class-conditional denoisers: the class of an image, and classifier-free guidance."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from adasde.errors import SolverError
from adasde.types import Denoiser, Model

Network = Callable[..., Tensor]
"""D(x, sigma), or with labels [B] D(x, sigma, labels)."""


def labels_of(seeds: Sequence[int], classes: int) -> Tensor:
    """The class of every seed, its remainder: [len(seeds)] int64; consecutive seeds are balanced."""
    return torch.tensor([seed % classes for seed in seeds], dtype=torch.int64)


def drawn(seed: int) -> int:
    """A number of 64 random bits that depends on ``seed`` alone."""
    return int.from_bytes(hashlib.sha256(f"class of {seed}".encode()).digest()[:8], "big")


def with_random_classes(model: Model) -> Model:
    """The same model, the class (or prompt) of every image drawn from its seed, not the seed's remainder.

    The chance of every class is the same (to 1e-16); a set of images is not exactly balanced.
    """
    condition = model.condition
    if condition is None:
        return model

    def random(seeds: Sequence[int], guidance: float) -> Denoiser:
        return condition([drawn(seed) for seed in seeds], guidance)

    return replace(model, condition=random)


class Conditional:
    """``D(x, sigma)`` of a class-conditional network, its labels closed over, with classifier-free guidance.

    D = D_null + g (D_class - D_null) (Ho and Salimans, 2207.12598): one call with a doubled batch, which
    counts as two evaluations (``cost``). With g = 1 the null class is not asked.
    """

    def __init__(
        self,
        network: Callable[[Tensor, Tensor, Tensor], Tensor],
        labels: Tensor,
        *,
        null: int,
        guidance: float = 1.0,
    ) -> None:
        """``labels`` [B] int64 of a batch; ``null``: the label of no class; ``guidance``: g."""
        self.network = network
        self.labels = labels
        self.null = null
        self.guidance = guidance
        self.cost = 1 if guidance == 1 else 2

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        labels = self.labels.to(x.device)
        if self.cost == 1:
            return self.network(x, sigma, labels)
        both = torch.cat([labels, torch.full_like(labels, self.null)])
        wanted, null = self.network(torch.cat([x, x]), sigma.expand(len(x)).repeat(2), both).chunk(2)
        return null + self.guidance * (wanted - null)


def by_class(network: Network, classes: int, *, name: str, has_null: bool = True) -> dict[str, Any]:
    """Fields of a ``Model`` with a class-conditional ``network``: ``classes``, ``denoise``, ``condition``.

    The label ``classes`` is that of no class; a network without one (not ``has_null``) can neither be asked
    for no class nor be guided away from it, and says so (SolverError).
    """

    def condition(seeds: Sequence[int], guidance: float) -> Denoiser:
        if not has_null and guidance != 1:
            raise SolverError(
                f"the model {name!r} was trained without a null class, which classifier-free guidance needs; "
                "leave guidance at 1."
            )
        return Conditional(network, labels_of(seeds, classes), null=classes, guidance=guidance)

    def refuse(x: Tensor, sigma: Tensor) -> Tensor:
        raise SolverError(
            f"the model {name!r} draws nothing without a class; bind the seeds of the batch with "
            "model.bind(seeds)."
        )

    return {"classes": classes, "denoise": network if has_null else refuse, "condition": condition}
