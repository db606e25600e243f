"""Class-conditional denoisers: which class an image has, and classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def labels_of(seeds: Sequence[int], classes: int) -> Tensor:
    """The class of every seed, its remainder: [len(seeds)] int64; consecutive seeds are balanced."""
    return torch.tensor([seed % classes for seed in seeds], dtype=torch.int64)


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
