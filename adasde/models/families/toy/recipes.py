"""Training recipes of the bundled models: data, networks and the settings that made the shipped weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from adasde.models.core.checkpoint import Description
from adasde.models.families.toy.data import digits
from adasde.models.families.toy.glyphs import HELD_OUT, LETTERS, SIZE, glyphs, training_seeds
from adasde.models.families.toy.training import add_noise

CLASSES = len(LETTERS)
Labelled = tuple[Tensor, Tensor]
"""Images [B, *shape] and labels [B]."""


@dataclass(frozen=True)
class Phase:
    """One descent: linear warm-up to ``rate``, then a cosine to zero; the average of its weights is kept.

    ``other_rate``: Muon at ``rate`` for the inner matrices, Adam at ``other_rate`` for the other weights.
    """

    iterations: int
    rate: float
    warm_up: int
    dropout: float = 0.0
    weight_decay: float = 0.0
    other_rate: float | None = None


@dataclass(frozen=True, kw_only=True)
class DenoiserTraining:
    """EDM training of the denoiser (arXiv 2206.00364, Table 1): ln sigma ~ N(p_mean, p_std^2).

    Two phases: the first with Adam, regularised against memorising; the second without regularisation, with
    Muon where ``other_rate`` is set. A label becomes the null class with the probability ``unlabelled``, for
    classifier-free guidance (arXiv 2207.12598). Settings that a recipe does not have are None.
    """

    iterations: int  # of both phases
    finish: float  # share of the second phase
    batch: int
    rate: float
    finish_rate: float
    other_rate: float | None = None
    warm_up: int | tuple[int, int]  # iterations, in each phase
    p_mean: float
    p_std: float
    sigma_data: float | None = None  # standard deviation of the images; None: measured
    unlabelled: float | None = None
    dropout: float | None = None
    weight_decay: float | None = None
    width: int
    depth: int | None = None
    blocks: int | None = None
    embedding: int | None = None
    ema: float  # decay of the average per iteration

    @property
    def phases(self) -> tuple[Phase, Phase]:
        """The two phases; their iterations add up to ``iterations``."""
        last = round(self.iterations * self.finish)
        first_warm_up, last_warm_up = (
            self.warm_up if isinstance(self.warm_up, tuple) else (self.warm_up, self.warm_up)
        )
        regularised = self.dropout or 0.0, self.weight_decay or 0.0
        return (
            Phase(self.iterations - last, self.rate, first_warm_up, *regularised),
            Phase(last, self.finish_rate, last_warm_up, other_rate=self.other_rate),
        )


@dataclass(frozen=True, kw_only=True)
class ClassifierTraining:
    """Cross entropy on noisy images. Settings that a recipe does not have are None."""

    iterations: int
    batch: int = 128
    rate: float = 2e-3
    warm_up: int = 100
    weight_decay: float = 1e-2
    label_smoothing: float = 0.1
    noise: float = 0.2  # largest standard deviation of the added noise
    shift: float | None = None  # largest shift, in pixels
    held_out: int | None = None  # images that measure the accuracy
    channels: tuple[int, ...] | None = None
    units: int | None = None


@dataclass(frozen=True)
class TrainingRecipe:
    """Data, families and settings of one bundled model.

    Attributes:
        description: the fields of its card.
        families: of the denoiser and of the classifier.
        sizes: settings that are sizes of the denoiser.
        classes: of a class-conditional model; 0: unconditional.
        denoiser: settings that made the shipped weights.
        classifier: settings that made the shipped feature extractor.
        batches: settings, seed and generator -> ``batch(done)`` for the denoiser, its labels perhaps None.
        classifier_batches: the same for the classifier, and the labelled images that measure its accuracy.
    """

    description: Description
    families: tuple[str, str]
    sizes: tuple[str, ...]
    classes: int
    denoiser: DenoiserTraining
    classifier: ClassifierTraining
    batches: Callable[[DenoiserTraining, int, torch.Generator], Callable[[int], tuple[Tensor, Tensor | None]]]
    classifier_batches: Callable[
        [ClassifierTraining, int, torch.Generator],
        tuple[Callable[[int], Labelled], Callable[[], Labelled]],
    ]

    def about(self, settings: DenoiserTraining) -> dict[str, Any]:
        """Sizes of the denoiser, as its family reads them in a card."""
        sizes = {name: getattr(settings, name) for name in self.sizes}
        return {"classes": self.classes, **sizes} if self.classes else sizes

    def classifier_about(self, settings: ClassifierTraining) -> dict[str, Any]:
        """Sizes of the classifier, as its family reads them in a card."""
        if settings.channels is None:
            return {}
        return {"classes": CLASSES, "channels": list(settings.channels), "units": settings.units}


def _digit_batches(
    settings: DenoiserTraining, seed: int, generator: torch.Generator
) -> Callable[[int], tuple[Tensor, None]]:
    images, _ = digits()
    return lambda done: (images[torch.randint(len(images), (settings.batch,), generator=generator)], None)


def _digit_classifier_batches(
    settings: ClassifierTraining, seed: int, generator: torch.Generator
) -> tuple[Callable[[int], Labelled], Callable[[], Labelled]]:
    images, labels = digits()
    order = torch.randperm(len(images), generator=generator)
    held, train = order[: settings.held_out], order[settings.held_out :]

    def batch(done: int) -> Labelled:
        index = train[torch.randint(len(train), (settings.batch,), generator=generator)]
        return augment(images[index], settings, generator), labels[index]

    return batch, lambda: (images[held], labels[held])


def _glyph_batches(
    settings: DenoiserTraining, seed: int, generator: torch.Generator
) -> Callable[[int], Labelled]:
    def batch(done: int) -> Labelled:
        images, labels = glyphs(training_seeds("denoiser", seed, done, settings.batch))
        labels[torch.rand(settings.batch, generator=generator) < (settings.unlabelled or 0.0)] = CLASSES
        return images, labels

    return batch


def _glyph_classifier_batches(
    settings: ClassifierTraining, seed: int, generator: torch.Generator
) -> tuple[Callable[[int], Labelled], Callable[[], Labelled]]:
    def batch(done: int) -> Labelled:
        images, labels = glyphs(training_seeds("classifier", seed, done, settings.batch))
        return add_noise(images, settings.noise, generator), labels

    return batch, lambda: glyphs(HELD_OUT)


def augment(images: Tensor, settings: ClassifierTraining, generator: torch.Generator) -> Tensor:
    """Shift each image by up to ``shift`` pixels (bilinear) and add noise of a random strength."""
    count, size = len(images), images.shape[-1]
    shift = (2 * torch.rand(count, 2, generator=generator) - 1) * (settings.shift or 0.0) * 2 / size
    matrix = torch.eye(2).expand(count, 2, 2)
    grid = nn.functional.affine_grid(
        torch.cat([matrix, shift[:, :, None]], dim=2), list(images.shape), align_corners=False
    )
    moved = nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return add_noise(moved, settings.noise, generator)


DIGITS = TrainingRecipe(
    description=Description(
        name="digits",
        data="Optical Recognition of Handwritten Digits, UCI, 1797 images 8x8, as in scikit-learn",
        license="CC BY 4.0 (data: E. Alpaydin, C. Kaynak, 1998, doi 10.24432/C50P49)",
        shape=(1, 8, 8),
        sigma_min=0.002,
        sigma_max=80.0,
    ),
    families=("residual-mlp", "digit-classifier"),
    sizes=("width", "depth"),
    classes=0,
    denoiser=DenoiserTraining(
        iterations=45000,
        finish=0.2,
        batch=256,
        rate=2e-3,
        finish_rate=1e-3,
        warm_up=500,
        p_mean=-0.8,
        p_std=1.6,
        dropout=0.05,
        weight_decay=1e-3,
        width=320,
        depth=5,
        ema=0.9995,
    ),
    classifier=ClassifierTraining(iterations=3000, shift=0.75, held_out=297),
    batches=_digit_batches,
    classifier_batches=_digit_classifier_batches,
)
"""A residual MLP on 1797 handwritten digits, regularised against memorising."""

GLYPHS = TrainingRecipe(
    description=Description(
        name="glyphs",
        data="Capital letters 16x16 RGB, drawn by adasde.models.glyphs from the DejaVu fonts of matplotlib",
        license="Apache-2.0 (weights; the fonts: DejaVu 2.37, free, derived from Bitstream Vera)",
        shape=(3, SIZE, SIZE),
        sigma_min=0.002,
        sigma_max=80.0,
    ),
    families=("unet", "classifier"),
    sizes=("width", "blocks", "embedding"),
    classes=CLASSES,
    denoiser=DenoiserTraining(
        iterations=26000,
        finish=15 / 26,
        batch=128,
        rate=3e-3,
        finish_rate=3e-3,
        other_rate=1e-3,
        warm_up=(300, 100),
        p_mean=-0.7,
        p_std=1.4,
        sigma_data=0.55,
        unlabelled=0.1,
        width=64,
        blocks=3,
        embedding=96,
        ema=0.999,
    ),
    classifier=ClassifierTraining(iterations=4000, channels=(32, 32, 64), units=64),
    batches=_glyph_batches,
    classifier_batches=_glyph_classifier_batches,
)
"""A class-conditional U-Net on drawn letters; no image is seen twice, so nothing prevents memorising."""

RECIPES = {recipe.description.name: recipe for recipe in (DIGITS, GLYPHS)}
"""Name of a bundled model -> how it is trained."""
