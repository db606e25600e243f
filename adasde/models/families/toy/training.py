"""Building blocks of training: determinism, noise levels, optimisers, the descent itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


@contextmanager
def deterministic(seed: int) -> Iterator[torch.Generator]:
    """One thread and seeded random numbers inside the block; the caller's own are untouched."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield torch.Generator().manual_seed(seed)
    finally:
        torch.set_num_threads(threads)


def sample_sigmas(count: int, p_mean: float, p_std: float, generator: torch.Generator) -> Tensor:
    """Log-normal noise levels [count], ascending: one at random in each of ``count`` equal quantiles."""
    quantiles = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    normal = torch.special.ndtri(quantiles.double().clamp(1e-6, 1 - 1e-6)).float()
    return (p_mean + p_std * normal).exp()


def cosine_rate(done: int, total: int, warm_up: int) -> float:
    """Factor of the learning rate after ``done`` of ``total`` iterations."""
    return min(1.0, (done + 1) / max(1, warm_up)) * (1 + math.cos(math.pi * done / max(1, total))) / 2


class Muon(torch.optim.Muon):
    """Muon for matrices and for convolutions, these as matrices [outputs, inputs * area].

    Rates are those of Adam: an update has the root mean square of one of Adam's. (Jordan et al., 2024; Liu
    et al., 2502.16982.)
    """

    def __init__(self, weights: Iterable[nn.Parameter], rate: float) -> None:
        """``weights``: convolutions in the layout ``channels_last``."""
        self.weights = list(weights)
        matrices = [nn.Parameter(as_matrix(weight.detach())) for weight in self.weights]
        super().__init__(matrices, lr=rate, weight_decay=0, adjust_lr_fn="match_rms_adamw")

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Change the weights by their gradients; they share memory with the matrices."""
        for weight, matrix in zip(self.weights, self.param_groups[0]["params"], strict=True):
            matrix.grad = None if weight.grad is None else as_matrix(weight.grad)
        super().step(closure)


def as_matrix(weight: Tensor) -> Tensor:
    """``weight`` [out, ...] as [out, inputs], in the same memory; that of a convolution is channels_last."""
    return weight if weight.ndim == 2 else weight.permute(0, 2, 3, 1).flatten(1)


def descend(
    model: nn.Module,
    optimisers: Sequence[torch.optim.Optimizer],
    loss: Callable[[int], Tensor],
    *,
    iterations: int,
    warm_up: int,
    ema: float = 0.0,
) -> Iterator[nn.Module]:
    """Minimise ``loss(done)``, the loss of a fresh batch: linear warm-up, then a cosine to zero.

    Yields the average of the weights (``ema``: its decay per iteration; 0: no average, ``model`` itself)
    after each of ``iterations``; it is the same module all the time.
    """
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimiser, lambda done: cosine_rate(done, iterations, warm_up))
        for optimiser in optimisers
    ]
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema)) if ema else None
    for done in range(iterations):
        error = loss(done)
        model.zero_grad()
        error.backward()
        for optimiser, schedule in zip(optimisers, schedules, strict=True):
            optimiser.step()
            schedule.step()
        if average is not None:
            average.update_parameters(model)
        yield average.module if average is not None else model


def add_noise(images: Tensor, largest: float, generator: torch.Generator) -> Tensor:
    """Add normal noise, of a random standard deviation up to ``largest`` for every image [B, C, H, W]."""
    strength = torch.rand(len(images), 1, 1, 1, generator=generator) * largest
    return images + strength * torch.randn(images.shape, generator=generator)
