"""Training of the embedded digits model from scratch: ``adasde train-digits``.

Deterministic for a seed: one CPU thread (set here), every random number from seeded generators. The
same torch build on the same kind of CPU gives the same bytes. The defaults made the shipped weights.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adasde.models.checkpoint import Description, add_component
from adasde.models.families.toy.classifier import Classifier
from adasde.models.families.toy.data import digits
from adasde.models.families.toy.mlp import ResidualMLP
from adasde.models.families.toy.training import (
    ClassifierRecipe,
    ProgressCallback,
    add_noise,
    averaged,
    descend,
    descend_classifier,
    descend_phases,
    deterministic,
    sample_sigmas,
)
from adasde.models.preconditioning import Preconditioned, training_loss
from adasde.utils.safetensors_io import save_tensors

HEAD: dict[str, Any] = {
    "name": "digits",
    "data": "Optical Recognition of Handwritten Digits, UCI, 1797 images 8x8, as in scikit-learn",
    "license": "CC BY 4.0 (data: E. Alpaydin, C. Kaynak, 1998, doi 10.24432/C50P49)",
    "shape": [1, 8, 8],
    "sigma_min": 0.002,
    "sigma_max": 80.0,
}
"""What the card of the embedded model says besides its weights."""


@dataclass(frozen=True)
class Phase:
    """One descent: linear warm-up to ``rate``, then a cosine to zero; the average of its weights is kept."""

    iterations: int
    rate: float
    dropout: float
    weight_decay: float


@dataclass(frozen=True)
class DenoiserTraining:
    """EDM training of the denoiser (arXiv 2206.00364, Table 1): ln sigma ~ N(p_mean, p_std^2).

    Two phases with Adam: the first regularised, against memorising; the second, shorter, without that.
    """

    iterations: int = 45000  # of both phases
    finish: float = 0.2  # share of the second phase
    batch: int = 256
    rate: float = 2e-3
    finish_rate: float = 1e-3
    warm_up: int = 500  # iterations, in each phase
    p_mean: float = -0.8
    p_std: float = 1.6
    dropout: float = 0.05
    weight_decay: float = 1e-3
    width: int = 320
    depth: int = 5
    ema: float = 0.9995  # decay of the average per iteration

    @property
    def phases(self) -> tuple[Phase, Phase]:
        """The two phases; their iterations add up to ``iterations``."""
        last = round(self.iterations * self.finish)
        first = Phase(self.iterations - last, self.rate, self.dropout, self.weight_decay)
        return first, Phase(last, self.finish_rate, 0.0, 0.0)


def fit_denoiser(
    images: Tensor, settings: DenoiserTraining, *, seed: int, progress: ProgressCallback | None = None
) -> nn.Module:
    """Train a preconditioned residual MLP on ``images`` [n, *shape]; return the average of its weights."""

    def fit(index: int, start: dict[str, Tensor] | None, advance: Callable[[], None]) -> nn.Module:
        return fit_phase(
            images, settings, settings.phases[index], seed=seed + index, start=start, advance=advance
        )

    return descend_phases(fit, iterations=settings.iterations, progress=progress)


def fit_phase(
    images: Tensor,
    settings: DenoiserTraining,
    phase: Phase,
    *,
    seed: int,
    start: dict[str, Tensor] | None,
    advance: Callable[[], None],
) -> nn.Module:
    """One phase from the weights ``start`` (None: random); ``advance()`` after every iteration."""
    sigma_data = float(images.std())
    with deterministic(seed) as generator:
        network = ResidualMLP(
            tuple(images.shape[1:]), width=settings.width, depth=settings.depth, dropout=phase.dropout
        )
        trained = Preconditioned(network, sigma_data)
        if start is not None:
            trained.load_state_dict(start)
        optimiser = torch.optim.AdamW(
            trained.parameters(),
            lr=phase.rate,
            betas=(0.9, 0.99),
            weight_decay=phase.weight_decay,
            fused=True,
        )

        def loss(done: int) -> Tensor:
            batch = images[torch.randint(len(images), (settings.batch,), generator=generator)]
            noise = torch.randn(batch.shape, generator=generator)
            sigma = sample_sigmas(settings.batch, settings.p_mean, settings.p_std, generator)
            return training_loss(trained, batch, noise, sigma, sigma_data)

        steps = descend(
            trained,
            [optimiser],
            loss,
            iterations=phase.iterations,
            warm_up=settings.warm_up,
            ema=settings.ema,
        )
        return averaged(steps, trained, advance)


@dataclass(frozen=True)
class ClassifierTraining(ClassifierRecipe):
    """The recipe on shifted digits; ``held_out`` images are kept to measure the accuracy."""

    shift: float = 0.75  # largest shift, in pixels
    held_out: int = 297


def augment(images: Tensor, settings: ClassifierTraining, generator: torch.Generator) -> Tensor:
    """Shift each image by up to ``shift`` pixels (bilinear) and add noise of a random strength."""
    count, size = len(images), images.shape[-1]
    shift = (2 * torch.rand(count, 2, generator=generator) - 1) * settings.shift * 2 / size
    matrix = torch.eye(2).expand(count, 2, 2)
    grid = nn.functional.affine_grid(
        torch.cat([matrix, shift[:, :, None]], dim=2), list(images.shape), align_corners=False
    )
    moved = nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return add_noise(moved, settings.noise, generator)


def fit_classifier(
    images: Tensor,
    labels: Tensor,
    settings: ClassifierTraining,
    *,
    seed: int,
    progress: ProgressCallback | None = None,
) -> tuple[Classifier, float]:
    """Train on all but ``settings.held_out`` images; return the classifier and its held-out accuracy."""
    with deterministic(seed) as generator:
        order = torch.randperm(len(images), generator=generator)
        held, train = order[: settings.held_out], order[settings.held_out :]
        model = Classifier(tuple(images.shape[1:]))

        def batch(done: int) -> tuple[Tensor, Tensor]:
            index = train[torch.randint(len(train), (settings.batch,), generator=generator)]
            return augment(images[index], settings, generator), labels[index]

        descend_classifier(model, batch, settings, progress=progress)
        accuracy = model.accuracy(images[held], labels[held])
        model.normalise(images)
    return model.eval(), accuracy


def train_denoiser(
    out: str | os.PathLike[str],
    *,
    seed: int = 0,
    settings: DenoiserTraining | None = None,
    progress: ProgressCallback | None = None,
) -> None:
    """Train the digits denoiser; write ``out/model.safetensors`` and its part of ``out/card.json``.

    Raises:
        DataError: ``out`` cannot be written.
    """
    settings = settings or DenoiserTraining()
    images, _ = digits()
    model = fit_denoiser(images, settings, seed=seed, progress=progress)
    save_tensors(Path(out) / "model.safetensors", model.state_dict())
    about = {"width": settings.width, "depth": settings.depth, "seed": seed, "training": asdict(settings)}
    add_component(Path(out), "model", "residual-mlp", about, description=Description(**HEAD))


def train_classifier(
    out: str | os.PathLike[str],
    *,
    seed: int = 0,
    settings: ClassifierTraining | None = None,
    progress: ProgressCallback | None = None,
) -> None:
    """Train the digit classifier; write ``out/features.safetensors`` and its part of ``out/card.json``.

    Raises:
        DataError: ``out`` cannot be written.
    """
    settings = settings or ClassifierTraining()
    model, accuracy = fit_classifier(*digits(), settings, seed=seed, progress=progress)
    save_tensors(Path(out) / "features.safetensors", model.state_dict())
    about = {"held_out_accuracy": round(accuracy, 4), "seed": seed, "training": asdict(settings)}
    add_component(Path(out), "features", "digit-classifier", about, description=Description(**HEAD))
