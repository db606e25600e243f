"""Predicted cost of a params.yaml on this machine (``adasde estimate``)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adasde.config.params import Params
from adasde.distillation.distill import iterations
from adasde.errors import CheckpointError
from adasde.models.core.checkpoint import Card, downloadable, read_card
from adasde.models.core.conditioning import by_class
from adasde.models.core.prompts import Encode, Prompted
from adasde.models.core.registry import FAMILIES, network_of
from adasde.models.describe import as_built
from adasde.models.families.adm.classifier import guided_by
from adasde.models.families.ldm import stable
from adasde.models.hub.cards import catalogue
from adasde.models.loading import load_model
from adasde.sampling.solvers import evaluations_of
from adasde.types import Denoiser, Model

BUDGET = 4.0  # seconds per measurement, of which there are two
GLANCE = 1.0  # seconds per measurement of ``adasde init``
LARGE = 300_000_000  # parameters of a network that ``adasde init`` does not measure


@dataclass(frozen=True)
class Work:
    """Work of a stage: evaluations of one image, those with gradients, and bytes written."""

    stage: str
    evaluations: int
    learning: int
    bytes: int


def work(params: Params, shape: tuple[int, ...], image: tuple[int, ...] | None = None) -> list[Work]:
    """Work of all stages that run the network; ``image`` is the shape of an image if it is not ``shape``."""
    sample, pixels = params.sample, math.prod(image or shape)
    floor = params.evaluate.floor_steps or 0
    stages = [Work("reference", sample.count * 2 * floor, 0, sample.count * pixels * (floor > 0))]  # Heun
    for nfe in params.nfe:
        budget = params.at(nfe)
        teacher, settings = budget.params.teacher, budget.settings
        fine = budget.steps * (teacher.inserted + 1) * teacher.substeps * evaluations_of(teacher.solver)
        kept = 2 if settings.learn_grid else budget.steps + 1
        states = 4 * math.prod(shape) * teacher.trajectories * kept
        rows = 1 + len(budget.params.baselines)
        stages += [
            Work(f"teacher@{nfe}", teacher.trajectories * fine, 0, states),
            Work(f"distill@{nfe}", 0, iterations(settings) * settings.batch * nfe, 0),
            Work(f"sample@{nfe}", rows * sample.count * nfe, 0, rows * sample.count * pixels),
        ]
    return stages


def estimate(params: Params, *, checkpoint: Path, budget: float = BUDGET) -> dict[str, Any]:
    """Evaluations, hours and bytes of every stage, from at most two measurements of ``budget`` seconds.

    The network is that of ``checkpoint`` if it exists and belongs to the model, a bundled one, or one with
    random weights, built from the model's card.

    Raises:
        CheckpointError: there is no such model, or its network cannot be built.
    """
    known, real = _model(params, checkpoint)
    model = replace(known, guidance=params.guidance)
    cost: int = getattr(model.bind(range(1)), "cost", 1)  # evaluations of a call
    stages = work(params, model.shape, _image(params, model))
    largest = max(params.sample.batch, params.teacher.batch)
    forward = per_image(lambda count: _forward(model, count), limit=largest, budget=budget)
    learning = per_image(lambda count: _backward(model, count), limit=params.distill.batch, budget=budget)
    rows = [
        {
            "stage": stage.stage,
            "evaluations": cost * (stage.evaluations + stage.learning),
            "hours": (stage.evaluations * forward + stage.learning * learning) / 3600,
            "bytes": stage.bytes,
        }
        for stage in stages
    ]
    return {
        "model": params.model,
        "network": "its own weights" if real else "random weights of its card's family",
        "seconds": {"evaluation": forward, "with_gradients": learning},
        "stages": rows,
        "evaluations": sum(row["evaluations"] for row in rows),
        "hours": sum(row["hours"] for row in rows),
        "bytes": sum(row["bytes"] for row in rows),
    }


def hours(params: Params, *, parameters: int | None) -> str:
    """Short description of the cost of all stages, from a measurement of a second if the network is small."""
    if parameters is None or parameters > LARGE:
        return "measured by 'adasde estimate', which runs the network"
    found = estimate(params, checkpoint=Path("data/checkpoint"), budget=GLANCE)
    words = f"{found['evaluations']:,} evaluations, about {_time(found['hours']).strip()}"
    return f"{words} on this CPU; the files of all stages take {found['bytes'] / 1e9:,.1f} GB"


def _image(params: Params, model: Model) -> tuple[int, ...] | None:
    """Shape of an image if it differs from that of a sample, as for latents."""
    card = catalogue().get(params.model)
    if card is not None:
        return None if card.image is None else tuple(card.image)
    if model.decode is None:
        return None
    with torch.no_grad():
        return tuple(model.images(torch.zeros(1, *model.shape)).shape[1:])


def _model(params: Params, checkpoint: Path) -> tuple[Model, bool]:
    """The model, and whether its weights are real."""
    if params.model not in downloadable():
        return load_model(params.model), True
    if (checkpoint / "card.json").exists() and read_card(checkpoint).name == params.model:
        return load_model(checkpoint), True
    card = as_built(params.model)
    if card is None or card.model.family not in FAMILIES:
        raise CheckpointError(
            f"the card of {params.model!r} does not say how its network is built, so its time cannot be "
            "measured before it is fetched: run 'adasde fetch', then estimate again."
        )
    return random_model(card), False


def random_model(card: Card) -> Model:
    """A model with the network of ``card`` and random weights."""
    network, guide = (
        None if part is None else network_of(card, part).eval().requires_grad_(False)
        for part in (card.model, card.classifier)
    )
    assert network is not None
    facts: dict[str, Any] = {"denoise": network}
    if card.classes:
        facts = by_class(network, card.classes, name=card.name)
    if guide is not None:
        process: Any = network.process
        facts["condition"] = guided_by(network, guide, process, classes=card.classes)
    if isinstance(network, stable.StableDiffusion):
        facts["condition"] = Prompted(network, _nothing(network), ["something"], name=card.name)
    return Model(
        **facts,
        name=card.name,
        shape=card.shape,
        sigma_min=card.sigma_min,
        sigma_max=card.sigma_max,
        sha256="",
    )


def _nothing(network: stable.StableDiffusion) -> Encode:
    """Encoder that gives every prompt the same embedding, of the usual length."""
    with torch.no_grad():
        embedding = network.embed(torch.zeros(1, network.length, dtype=torch.int64))
    return lambda prompt: (embedding,)


def _forward(model: Model, count: int) -> None:
    with torch.no_grad():
        denoise: Denoiser = model.bind(range(count))
        denoise(torch.randn(count, *model.shape), torch.tensor(1.0))


def _backward(model: Model, count: int) -> None:
    x: Tensor = torch.randn(count, *model.shape).requires_grad_()
    model.bind(range(count))(x, torch.tensor(1.0)).sum().backward()


def per_image(run: Callable[[int], None], *, limit: int, budget: float) -> float:
    """Seconds per image in the largest batch (up to ``limit``) that fits the ``budget``.

    The first run is a warm-up, and counts only if it takes more than the ``budget``.
    """
    started = time.perf_counter()
    count = 1
    run(1)
    if (first := time.perf_counter() - started) > budget:
        return first
    while True:
        before = time.perf_counter()
        run(count)
        spent = time.perf_counter() - before
        left = budget - (time.perf_counter() - started)
        if count >= limit or left < 3 * spent:
            return spent / count
        count = min(2 * count, limit)


def description(found: dict[str, Any]) -> str:
    """The estimate as a table."""
    lines = [f"{found['model']}, measured with {found['network']}, on the CPU:"]
    for row in [*found["stages"], {**found, "stage": "all"}]:
        lines.append(
            f"{row['stage']:<12} {row['evaluations']:>15,} evaluations  {_time(row['hours'])}  "
            f"{row['bytes'] / 1e6:>10,.1f} MB"
        )
    lines.append("Evaluation of the images (their features) and the checkpoint itself are not included.")
    return "\n".join(lines)


def _time(hours: float) -> str:
    return f"{hours:>8,.1f} h  " if hours >= 1 else f"{60 * hours:>8,.1f} min"
