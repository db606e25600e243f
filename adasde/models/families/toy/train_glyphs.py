"""Training of the embedded glyphs model from scratch: ``adasde train-glyphs``.

Deterministic for a seed, as ``train_digits``; every image is new, so nothing has to prevent memorising.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adasde.models.checkpoint import Description, add_component
from adasde.models.families.toy.classifier import Classifier
from adasde.models.families.toy.glyphs import HELD_OUT, LETTERS, REAL, SIZE, glyphs, training_seeds
from adasde.models.families.toy.training import (
    ClassifierRecipe,
    Muon,
    ProgressCallback,
    add_noise,
    averaged,
    descend,
    descend_classifier,
    descend_phases,
    deterministic,
    sample_sigmas,
)
from adasde.models.families.toy.unet import UNet
from adasde.models.preconditioning import Preconditioned, training_loss
from adasde.utils.safetensors_io import save_tensors

HEAD: dict[str, Any] = {
    "name": "glyphs",
    "data": "Capital letters 16x16 RGB, drawn by adasde.models.glyphs from the DejaVu fonts of matplotlib",
    "license": "Apache-2.0 (weights; the fonts: DejaVu 2.37, free, derived from Bitstream Vera)",
    "shape": [3, SIZE, SIZE],
    "sigma_min": 0.002,
    "sigma_max": 80.0,
}
"""What the card of the embedded model says besides its weights."""

CLASSES = len(LETTERS)

OUTER = ("network.enter.weight", "network.leave.2.weight", "network.label.weight")
"""Weights that meet images or labels; Muon is for those between."""


@dataclass(frozen=True)
class DenoiserTraining:
    """EDM training of the denoiser (arXiv 2206.00364, Table 1): ln sigma ~ N(p_mean, p_std^2).

    Two phases, each with a cosine to zero: Adam at ``rate``, then Muon at ``finish_rate`` for all weights
    between the first and the last layer, the others with Adam at ``other_rate``. A label becomes the null
    class with the probability ``unlabelled``, for classifier-free guidance (arXiv 2207.12598).
    """

    iterations: int = 26000  # of both phases
    finish: float = 15 / 26  # share of the second phase
    batch: int = 128
    rate: float = 3e-3
    finish_rate: float = 3e-3
    other_rate: float = 1e-3
    warm_up: tuple[int, int] = (300, 100)  # iterations, in each phase
    p_mean: float = -0.7
    p_std: float = 1.4
    sigma_data: float = 0.55  # standard deviation of the images
    unlabelled: float = 0.1
    width: int = 64
    blocks: int = 3
    embedding: int = 96
    ema: float = 0.999  # decay of the average per iteration

    @property
    def lengths(self) -> tuple[int, int]:
        """Iterations of the two phases; they add up to ``iterations``."""
        last = round(self.iterations * self.finish)
        return self.iterations - last, last

    def network(self) -> UNet:
        """The raw network with fresh weights."""
        return UNet(3, classes=CLASSES, width=self.width, blocks=self.blocks, embedding=self.embedding)


def fit_denoiser(
    settings: DenoiserTraining, *, seed: int, progress: ProgressCallback | None = None
) -> nn.Module:
    """Train a preconditioned U-Net on images never seen twice; return the average of its weights."""

    def fit(index: int, start: dict[str, Tensor] | None, advance: Callable[[], None]) -> nn.Module:
        return fit_phase(settings, index, seed=seed + index, start=start, advance=advance)

    return descend_phases(fit, iterations=settings.iterations, progress=progress)


def fit_phase(
    settings: DenoiserTraining,
    index: int,
    *,
    seed: int,
    start: dict[str, Tensor] | None,
    advance: Callable[[], None],
) -> nn.Module:
    """Phase ``index``, 0 or 1, from the weights ``start`` (None: random); ``advance()`` every iteration."""
    with deterministic(seed) as generator:
        trained = Preconditioned(settings.network(), settings.sigma_data)
        if start is not None:
            trained.load_state_dict(start)

        def loss(done: int) -> Tensor:
            images, labels = glyphs(training_seeds("denoiser", seed, done, settings.batch))
            dropped = torch.rand(settings.batch, generator=generator) < settings.unlabelled
            labels[dropped] = CLASSES
            noise = torch.randn(images.shape, generator=generator)
            sigma = sample_sigmas(settings.batch, settings.p_mean, settings.p_std, generator)
            return training_loss(
                lambda x, level: trained(x, level, labels), images, noise, sigma, settings.sigma_data
            )

        steps = descend(
            trained,
            _optimisers(trained, settings, index),
            loss,
            iterations=settings.lengths[index],
            warm_up=settings.warm_up[index],
            ema=settings.ema,
        )
        return averaged(steps, trained, advance)


def _optimisers(
    trained: Preconditioned, settings: DenoiserTraining, index: int
) -> list[torch.optim.Optimizer]:
    """Those of phase ``index``."""
    adam = partial(torch.optim.AdamW, betas=(0.9, 0.99), weight_decay=0, fused=True)
    if index == 0:
        return [adam(trained.parameters(), lr=settings.rate)]
    parameters = dict(trained.named_parameters())
    inner = [name for name, value in parameters.items() if value.ndim > 1 and name not in OUTER]
    others = [value for name, value in parameters.items() if name not in inner]
    matrices = [parameters[name] for name in inner]
    return [Muon(matrices, settings.finish_rate), adam(others, lr=settings.other_rate)]


def write_denoiser(out: Path, model: nn.Module, settings: DenoiserTraining, *, seed: int) -> None:
    """Write ``out/model.safetensors`` and its part of ``out/card.json``.

    Raises:
        DataError: ``out`` cannot be written.
    """
    save_tensors(out / "model.safetensors", model.state_dict())
    built = {name: getattr(settings, name) for name in ("width", "blocks", "embedding")}
    about = {"classes": CLASSES, **built, "seed": seed, "training": asdict(settings)}
    add_component(out, "model", "unet", about, description=Description(**HEAD))


def train_denoiser(
    out: str | os.PathLike[str],
    *,
    seed: int = 0,
    settings: DenoiserTraining | None = None,
    progress: ProgressCallback | None = None,
) -> None:
    """Train the glyphs denoiser; write ``out/model.safetensors`` and its part of ``out/card.json``.

    Raises:
        DataError: ``out`` cannot be written.
    """
    settings = settings or DenoiserTraining()
    write_denoiser(Path(out), fit_denoiser(settings, seed=seed, progress=progress), settings, seed=seed)


@dataclass(frozen=True)
class ClassifierTraining(ClassifierRecipe):
    """The recipe on letters never seen twice, and the sizes of the network."""

    iterations: int = 4000
    channels: tuple[int, ...] = (32, 32, 64)
    units: int = 64

    def network(self) -> Classifier:
        """The classifier with fresh weights."""
        return Classifier((3, SIZE, SIZE), channels=self.channels, units=self.units, classes=CLASSES)


def fit_classifier(
    settings: ClassifierTraining, *, seed: int, progress: ProgressCallback | None = None
) -> tuple[Classifier, float]:
    """Return the classifier and its accuracy on the seeds ``HELD_OUT``."""
    with deterministic(seed) as generator:
        model = settings.network()

        def batch(done: int) -> tuple[Tensor, Tensor]:
            images, labels = glyphs(training_seeds("classifier", seed, done, settings.batch))
            return add_noise(images, settings.noise, generator), labels

        descend_classifier(model, batch, settings, progress=progress)
        model.normalise(glyphs(REAL)[0])
        accuracy = model.accuracy(*glyphs(HELD_OUT))
    return model.eval(), accuracy


def train_classifier(
    out: str | os.PathLike[str],
    *,
    seed: int = 0,
    settings: ClassifierTraining | None = None,
    progress: ProgressCallback | None = None,
) -> None:
    """Train the letter classifier; write ``out/features.safetensors`` and its part of ``out/card.json``.

    Raises:
        DataError: ``out`` cannot be written.
    """
    settings = settings or ClassifierTraining()
    model, accuracy = fit_classifier(settings, seed=seed, progress=progress)
    save_tensors(Path(out) / "features.safetensors", model.state_dict())
    about = {
        "classes": CLASSES,
        "channels": list(settings.channels),
        "units": settings.units,
        "held_out_accuracy": round(accuracy, 4),
        "seed": seed,
        "training": asdict(settings),
    }
    add_component(Path(out), "features", "classifier", about, description=Description(**HEAD))
