"""The loop of the paper's authors, replayed: released_training_golden.npz holds what their own code computed.

Its parts have closed forms: the network is the denoiser of a Gaussian mixture, the extractor
tanh((image / 127.5 - 1) @ matrix). Other such files are read from the folder ``ADASDE_GOLDEN``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from adasde.distillation import Batch, DistillSettings, Student, Teacher
from adasde.distillation.distill import period
from adasde.distillation.losses import of_images
from adasde.distillation.micro_batches import Bind
from adasde.distillation.node_by_node import Current, NodeByNode
from adasde.distillation.recipes import RECIPES
from adasde.sampling.analytic import Mixture
from adasde.sampling.solvers import Interval
from adasde.sampling.wrappers import AnalyticFirstStep
from adasde.types import Denoiser

FOLDERS = [Path(__file__).parents[1] / "data"]
FOLDERS += [Path(named)] if (named := os.environ.get("ADASDE_GOLDEN")) else []
FILES = sorted(path for folder in FOLDERS for path in folder.glob("*training*.npz"))
RAW = {
    "r_params": "midpoint",
    "scale_dir_params": "direction_scale",
    "scale_time_params": "time_scale",
    "weight_s": "weights",
    "gamma_params": "gamma",
}
"""The authors' names of the raw parameters, and ours."""


@cache
def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def runs() -> list[Any]:
    found = []
    for path in FILES:
        for key in sorted(arrays(path)):
            if key.endswith("_config"):
                found.append(pytest.param(path, key.removesuffix("_config"), id=f"{path.stem}-{key[:-7]}"))
    return found


LOW, HIGH = torch.tensor(0.002), torch.tensor(80.0)


class Golden:
    """One configuration of a file."""

    def __init__(self, path: Path, name: str) -> None:
        self.arrays, self.name = arrays(path), name
        text = str(self.arrays[f"{name}_config"])
        self.config: dict[str, Any] = json.loads(text.replace("'", '"'))
        self.nodes = self.config["num_steps"] - 1

    def __call__(self, key: str) -> Tensor:
        return torch.from_numpy(np.asarray(self.arrays[f"{self.name}_{key}"])).double()

    @property
    def steps(self) -> int:
        return sum(key.startswith(f"{self.name}_") and key.endswith("_loss") for key in self.arrays)

    def denoiser(self) -> Denoiser:
        means = torch.from_numpy(self.arrays["mixture_means"])
        weights = torch.full((len(means),), 1 / len(means), dtype=torch.float64)
        return Mixture(means, weights, float(self.arrays["mixture_std"]))

    def settings(self) -> DistillSettings:
        config, preset = self.config, RECIPES["paper"].at(5)["distill"]
        return DistillSettings(**preset | {
            "feature_weight": config["alpha"], "gamma_max": config["gamma"], "lr": config["lr"],
            "scale_dir": config["scale_dir"], "batch": config["batch"],
            "scale_time": config.get("scale_time", preset["scale_time"]),
            "trajectories": config["batch"] * config["iters"], "reference": True,
        })  # fmt: skip

    def features(self) -> Any:
        matrix = torch.from_numpy(self.arrays["feature_matrix"]).double()
        return of_images(lambda images: torch.tanh(images.flatten(1) @ matrix.T), self.settings())

    def batches(self) -> Iterator[Batch]:
        for first in range(0, self.steps, self.nodes):
            targets = [self(f"{first + i:03d}_teacher") for i in range(self.nodes)]
            yield Batch(range(self.config["batch"]), torch.stack([self(f"{first:03d}_input"), *targets]))


def float32_grid(points: int, low: Tensor = LOW, high: Tensor = HIGH) -> Tensor:
    """``time_uniform`` with rho = 1 in float32 throughout, as for the authors."""
    eps = 1e-3
    ends = [torch.log(sigma**2 + 1) for sigma in (low, high)]
    slope = 2 * (ends[0] / eps - ends[1]) / (eps - 1)
    offset = ends[1] - 0.5 * slope
    times = 1 + torch.arange(points) / (points - 1) * (eps - 1)
    return (math.e ** (0.5 * slope * times**2 + offset * times) - 1) ** 0.5


class OnTheirGrid(NodeByNode):
    """The loop on the intervals of the authors' student, which computes their ends again, in float32."""

    def _trajectory(self, bind: Bind, batch: Batch) -> Iterator[Tensor]:
        x, student, noise = batch.states[0], self.student, self.noise(batch.seeds)
        nodes = float32_grid(len(student.start))
        for i, (t, s) in enumerate(pairwise(nodes)):
            start, end = float32_grid(2, low=s, high=t).double()
            network = AnalyticFirstStep(bind(batch.seeds)) if i == 0 else bind(batch.seeds)
            interval = Interval(i, start, end, len(nodes) - 2 - i, partial(noise, i))
            x, _ = Current(student).step(network, x / t * start, interval, ())
            yield x


def close(found: Tensor, wanted: Tensor, *, rtol: float, name: str) -> None:
    """Relative to the largest entry, because single ones may cancel."""
    scale = float(wanted.abs().max())
    message = lambda text: f"{name}: {text}"  # noqa: E731
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=rtol * scale + 1e-12, msg=message)


@pytest.mark.parametrize(("path", "name"), runs())
def test_the_teacher(path: Path, name: str) -> None:
    golden = Golden(path, name)
    teacher = Teacher(solver="dpm2", inserted=golden.config["M"], substeps=2)
    grid = float32_grid((golden.config["M"] + 1) * golden.nodes + 1).double()
    latents = golden("000_input") / grid[0]
    states = teacher.along(golden.denoiser(), latents, grid, every=golden.config["M"] + 1)
    for node in range(golden.nodes):
        close(states[node + 1], golden(f"{node:03d}_teacher"), rtol=1e-5, name=f"teacher {node}")


@pytest.mark.parametrize(("path", "name"), runs())
def test_losses_gradients_rates_and_parameters(path: Path, name: str) -> None:
    golden = Golden(path, name)
    settings = golden.settings()
    student = Student(float32_grid(golden.nodes + 1).double(), settings, afs=True)
    for theirs, ours in RAW.items():
        parameter = getattr(student, ours)
        parameter.data.copy_(golden(f"000_before_{theirs}").reshape(parameter.shape))
    optimiser = torch.optim.Adam(student.parameters(), lr=settings.lr)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, period(settings), eta_min=settings.lr_final)
    step = 0
    for batch in golden.batches():
        begun = step
        noises = lambda seeds: lambda i, like: golden(f"noise_{begun + i:03d}")  # noqa: B023, E731
        gradients = OnTheirGrid(student, golden.features(), noises)
        for errors in gradients(lambda seeds: golden.denoiser(), batch):
            key, elements = f"{step:03d}_", batch.states[0, 0].numel()
            error = errors.nodes[0] if errors.feature is None else settings.feature_weight * errors.feature
            close(elements * error, golden(key + "loss").sum() / settings.batch, rtol=1e-3, name="loss")
            assert optimiser.param_groups[0]["lr"] == pytest.approx(float(golden(key + "lr")), rel=1e-6)
            for theirs, ours in RAW.items():
                found = getattr(student, ours).grad
                wanted = golden(f"{key}grad_{theirs}").reshape(found.shape)
                close(found, wanted, rtol=1e-3, name=f"gradient {step} of {ours}")
            optimiser.step()
            for theirs, ours in RAW.items():
                found = getattr(student, ours).detach()
                wanted = golden(f"{key}after_{theirs}").reshape(found.shape)
                close(found, wanted, rtol=1e-3, name=f"{ours} after {step}")
            step += 1
        rate.step()
    assert step == golden.steps
