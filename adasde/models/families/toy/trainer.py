"""Training of the bundled models from scratch: ``adasde train-digits`` and ``adasde train-glyphs``.

Deterministic for a seed: one CPU thread (set here), every random number from seeded generators. The same
torch build on the same kind of CPU gives the same bytes. The recipes' own settings made the shipped weights.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adasde.models.core.checkpoint import Card, Component, add_component
from adasde.models.core.preconditioning import training_loss
from adasde.models.core.registry import network_of
from adasde.models.families.toy.classifier import Classifier
from adasde.models.families.toy.data import SOURCES
from adasde.models.families.toy.recipes import (
    RECIPES,
    ClassifierTraining,
    DenoiserTraining,
    Phase,
    TrainingRecipe,
)
from adasde.models.families.toy.training import Muon, descend, deterministic, sample_sigmas
from adasde.utils.safetensors_io import save_tensors

ProgressCallback = Callable[[int, int], None]
"""``progress(done, total)``, called after every iteration."""

OUTER = ("network.enter.weight", "network.leave.2.weight", "network.label.weight")
"""Weights that meet images or labels; Muon is for those between."""


def train_denoiser(
    name: str,
    out: str | os.PathLike[str],
    *,
    seed: int = 0,
    settings: DenoiserTraining | None = None,
    progress: ProgressCallback | None = None,
) -> None:
    """Train the denoiser of the bundled model ``name``; add ``model.safetensors`` to the checkpoint ``out``.

    Raises:
        DataError: ``out`` cannot be written.
    """
    recipe = RECIPES[name]
    settings = settings or recipe.denoiser
    model = fit_denoiser(recipe, settings, seed=seed, progress=progress)
    _write(out, "model", recipe, model, recipe.about(settings) | _made_with(settings, seed))


def train_classifier(
    name: str,
    out: str | os.PathLike[str],
    *,
    seed: int = 0,
    settings: ClassifierTraining | None = None,
    progress: ProgressCallback | None = None,
) -> None:
    """Train the classifier of the bundled model ``name``; add ``features.safetensors`` to ``out``.

    Raises:
        DataError: ``out`` cannot be written.
    """
    recipe = RECIPES[name]
    settings = settings or recipe.classifier
    model, accuracy = fit_classifier(recipe, settings, seed=seed, progress=progress)
    about = recipe.classifier_about(settings) | {"held_out_accuracy": round(accuracy, 4)}
    _write(out, "features", recipe, model, about | _made_with(settings, seed))


def fit_denoiser(
    recipe: TrainingRecipe,
    settings: DenoiserTraining,
    *,
    seed: int,
    progress: ProgressCallback | None = None,
) -> nn.Module:
    """Train a preconditioned network in two phases; return the average of its weights."""
    name = recipe.description.name
    sigma_data = settings.sigma_data or float(SOURCES[name]().std())
    done = count(1)
    model: nn.Module | None = None
    for index, phase in enumerate(settings.phases):
        with deterministic(seed + index) as generator:
            trained = _network(recipe, settings, sigma_data, phase.dropout)
            if model is not None:
                trained.load_state_dict(model.state_dict())
            batch = recipe.batches(settings, seed + index, generator)
            steps = descend(
                trained,
                _optimisers(trained, phase),
                _edm_loss(trained, settings, batch, sigma_data, generator),
                iterations=phase.iterations,
                warm_up=phase.warm_up,
                ema=settings.ema,
            )
            model = trained
            for average in steps:
                model = average
                if progress is not None:
                    progress(next(done), settings.iterations)
            model.eval()
    assert model is not None
    return model


def fit_classifier(
    recipe: TrainingRecipe,
    settings: ClassifierTraining,
    *,
    seed: int,
    progress: ProgressCallback | None = None,
) -> tuple[Classifier, float]:
    """Train a classifier; return it and its accuracy on held-out images."""
    with deterministic(seed) as generator:
        batch, held_out = recipe.classifier_batches(settings, seed, generator)
        model = Classifier(recipe.description.shape, **recipe.classifier_about(settings))
        descend_classifier(model, batch, settings, progress=progress)
        model.normalise(SOURCES[recipe.description.name]())
        accuracy = model.accuracy(*held_out())
    return model.eval(), accuracy


def descend_classifier(
    model: nn.Module,
    batch: Callable[[int], tuple[Tensor, Tensor]],
    settings: ClassifierTraining,
    *,
    progress: ProgressCallback | None = None,
) -> None:
    """Train ``model`` on the augmented images and labels that ``batch(done)`` gives."""

    def loss(done: int) -> Tensor:
        images, labels = batch(done)
        return nn.functional.cross_entropy(model(images), labels, label_smoothing=settings.label_smoothing)

    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.rate, weight_decay=settings.weight_decay)
    steps = descend(model, [optimiser], loss, iterations=settings.iterations, warm_up=settings.warm_up)
    for done, _ in enumerate(steps, 1):
        if progress is not None:
            progress(done, settings.iterations)


def _network(
    recipe: TrainingRecipe, settings: DenoiserTraining, sigma_data: float, dropout: float
) -> nn.Module:
    """The preconditioned network with fresh weights, built as its family builds it from a card."""
    component = Component("", "", 0, recipe.families[0], recipe.about(settings))
    network = network_of(Card(**vars(recipe.description), model=component), component)
    network.get_buffer("sigma_data").fill_(sigma_data)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
    return network


def _edm_loss(
    trained: nn.Module,
    settings: DenoiserTraining,
    batch: Callable[[int], tuple[Tensor, Tensor | None]],
    sigma_data: float,
    generator: torch.Generator,
) -> Callable[[int], Tensor]:
    """EDM's loss of batch number ``done``."""

    def loss(done: int) -> Tensor:
        images, labels = batch(done)
        noise = torch.randn(images.shape, generator=generator)
        sigma = sample_sigmas(settings.batch, settings.p_mean, settings.p_std, generator)
        return training_loss(lambda x, level: trained(x, level, labels), images, noise, sigma, sigma_data)

    return loss


def _optimisers(trained: nn.Module, phase: Phase) -> list[torch.optim.Optimizer]:
    """Adam, or Muon for the inner matrices and Adam for the other weights."""
    adam = partial(torch.optim.AdamW, betas=(0.9, 0.99), weight_decay=phase.weight_decay, fused=True)
    if phase.other_rate is None:
        return [adam(trained.parameters(), lr=phase.rate)]
    parameters = dict(trained.named_parameters())
    inner = [name for name, value in parameters.items() if value.ndim > 1 and name not in OUTER]
    others = [value for name, value in parameters.items() if name not in inner]
    matrices = [parameters[name] for name in inner]
    return [Muon(matrices, phase.rate), adam(others, lr=phase.other_rate)]


def _made_with(settings: DenoiserTraining | ClassifierTraining, seed: int) -> dict[str, Any]:
    training = {name: value for name, value in asdict(settings).items() if value is not None}
    return {"seed": seed, "training": training}


def _write(
    out: str | os.PathLike[str], role: str, recipe: TrainingRecipe, model: nn.Module, about: dict[str, Any]
) -> None:
    save_tensors(Path(out) / f"{role}.safetensors", model.state_dict())
    family = recipe.families[0 if role == "model" else 1]
    add_component(Path(out), role, family, about, description=recipe.description)
