"""Parameterization of a network: noise process, training times, prediction, as ``D(x, sigma)``.

x = x0 + sigma * eps throughout. A variance-preserving network (Ho et al., 2006.11239) takes
z = x / sqrt(1 + sigma^2), one of flow matching (Lipman et al., 2210.02747) z = (1 - u) x0 + u eps =
x / (1 + sigma) with u = sigma / (1 + sigma), the share of noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from adasde.errors import CheckpointError
from adasde.models.core.preconditioning import Preconditioner, Scalings
from adasde.sampling.schedules import EPSILON_TIME, unknown

FLOW = "flow_prediction"
CONTINUOUS = "continuous"
"""The beta schedule of ``Continuous``, which ``diffusers`` does not have."""

Number = TypeVar("Number", float, Tensor)
Factors = Callable[[Any], tuple[Any, Any]]

CLEAN: dict[str, Factors] = {
    "epsilon": lambda sigma: (1.0, -sigma),
    "sample": lambda sigma: (0.0, 1.0),
    "v_prediction": lambda sigma: (1 / (1 + sigma**2), -sigma / (1 + sigma**2) ** 0.5),
    FLOW: lambda sigma: (1 / (1 + sigma), -sigma / (1 + sigma)),
}
"""Prediction -> the factors a, b of D = a x + b output; v: Salimans and Ho (2202.00512), flow: eps - x0."""


def linear(first: float, last: float, count: int) -> np.ndarray:
    """beta_k linear in k."""
    return np.linspace(first, last, count)


def scaled_linear(first: float, last: float, count: int) -> np.ndarray:
    """sqrt(beta_k) linear in k (latent diffusion, Rombach et al., 2112.10752)."""
    return np.linspace(math.sqrt(first), math.sqrt(last), count) ** 2


def squared_cosine(first: float, last: float, count: int) -> np.ndarray:
    """The signal falls as a squared cosine (Nichol and Dhariwal, 2102.09672, eq. 17); no beta above 0.999."""
    signal = np.cos((np.arange(count + 1) / count + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.minimum(1 - signal[1:] / signal[:-1], 0.999)


BETAS = {"linear": linear, "scaled_linear": scaled_linear, "squaredcos_cap_v2": squared_cosine}
"""Beta schedules by the names that ``diffusers`` has for them."""


@dataclass(frozen=True, eq=False)
class Process:
    """How a network was trained.

    Attributes:
        prediction: a key of ``CLEAN``.
        times: number of training times T; the network's inputs are 0 .. T - 1 (flow: u * T), fractions too.
        levels: [T] the noise level at each training time, increasing; empty for flow matching.
    """

    prediction: str
    times: int
    levels: np.ndarray

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Process:
        """From the settings of a scheduler of ``diffusers``, ``pipe.scheduler.config``.

        Raises:
            CheckpointError: a prediction or a beta schedule that is not known here, or another process.
        """
        times = int(config.get("num_train_timesteps", 1000))
        if is_flow(config):
            return cls(FLOW, times, np.empty(0))
        if config.get("beta_schedule") == CONTINUOUS:
            ends = float(config.get("beta_start", 0.1)), float(config.get("beta_end", 20.0))
            return Continuous("epsilon", times, np.empty(0), *ends)
        kind = config.get("_class_name")
        if kind and "beta_schedule" not in config and config.get("trained_betas") is None:
            raise CheckpointError(
                f"the scheduler {kind} says no beta_schedule: the network was not trained by a "
                "variance-preserving process or flow matching, and others cannot be read from its settings."
            )
        prediction = str(config.get("prediction_type", "epsilon"))
        if prediction not in CLEAN:
            raise CheckpointError(unknown("prediction_type", prediction, CLEAN))
        betas = config.get("trained_betas")
        if betas is None:
            name = str(config.get("beta_schedule", "linear"))
            if name not in BETAS:
                raise CheckpointError(unknown("beta_schedule", name, BETAS))
            betas = BETAS[name](config.get("beta_start", 0.0001), config.get("beta_end", 0.02), times)
        signal = np.cumprod(1 - np.asarray(betas, dtype=np.float64))
        if config.get("rescale_betas_zero_snr"):
            signal = _without_signal_at_the_end(signal)
        signal = signal[signal > 1e-10]  # the last time of zero signal has no noise level
        return cls(prediction, times, np.sqrt((1 - signal) / signal))

    @property
    def flow(self) -> bool:
        """Whether this is flow matching."""
        return self.prediction == FLOW

    @property
    def lowest(self) -> float:
        """The lowest noise level of the training."""
        return 1 / (self.times - 1) if self.flow else float(self.levels[0])

    @property
    def highest(self) -> float:
        """The highest noise level of the training; of flow matching that of u = 1 - 1 / T."""
        return float(self.times - 1) if self.flow else float(self.levels[-1])

    def shrink(self, sigma: Number) -> Number:
        """Factor from x to the network's input z."""
        return 1 / (1 + sigma) if self.flow else 1 / (1 + sigma**2) ** 0.5

    def time(self, sigma: Number) -> Number:
        """Training time of a noise level, the network's input; linear in log sigma in between.

        Of a tensor it is a tensor of the same shape and dtype, differentiable.
        """
        if self.flow:
            return self.times * sigma / (1 + sigma)
        if isinstance(sigma, Tensor):
            return self._between(sigma)
        return float(np.interp(math.log(sigma), np.log(self.levels), np.arange(len(self.levels))))

    def clean(self, x: Tensor, sigma: float, output: Tensor) -> Tensor:
        """D: the clean estimate from the state x at ``sigma`` and the network's output there."""
        of_x, of_output = self.factors(sigma)
        if of_x == 0:
            return output.to(x.dtype) * of_output
        return torch.add(x * of_x, output.to(x.dtype), alpha=of_output)

    def factors(self, sigma: Any) -> tuple[Any, Any]:
        """a and b of D = a x + b output, for a number or a tensor."""
        return CLEAN[self.prediction](sigma)

    def _between(self, sigma: Tensor) -> Tensor:
        """``time`` of a tensor."""
        known = torch.from_numpy(np.log(self.levels)).to(sigma.device)
        wanted = sigma.double().log().clamp(known[0], known[-1])
        before = torch.searchsorted(known, wanted.detach()).clamp(1, len(known) - 1) - 1
        share = (wanted - known[before]) / (known[before + 1] - known[before])
        return (before + share).to(sigma.dtype)


@dataclass(frozen=True, eq=False)
class Continuous(Process):
    """The continuous variance-preserving process (Song et al., 2011.13456) for t = 0.001 .. 1.

    log(1 + sigma^2) = (beta_end - beta_start) t^2 / 2 + beta_start t; the network's input is (T - 1) t.
    """

    beta_start: float
    beta_end: float

    @property
    def lowest(self) -> float:
        return self.level(EPSILON_TIME)

    @property
    def highest(self) -> float:
        return self.level(1.0)

    def level(self, t: float) -> float:
        """Noise level at time t."""
        return math.sqrt(math.expm1((self.beta_end - self.beta_start) * t**2 / 2 + self.beta_start * t))

    def time(self, sigma: Number) -> Number:
        slope = self.beta_end - self.beta_start
        power = (1 + sigma**2).log() if isinstance(sigma, Tensor) else math.log1p(sigma**2)
        return (self.times - 1) * ((self.beta_start**2 + 2 * slope * power) ** 0.5 - self.beta_start) / slope


def is_flow(config: Mapping[str, Any]) -> bool:
    """Whether the settings of a scheduler of ``diffusers`` are those of flow matching."""
    matching = str(config.get("_class_name", "")).startswith("FlowMatch")
    return matching or config.get("prediction_type") == FLOW


def _without_signal_at_the_end(signal: np.ndarray) -> np.ndarray:
    """The signal rescaled so that none is left at the last time (Lin et al., 2305.08891, algorithm 1)."""
    root = np.sqrt(signal)
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


class Predicted(Preconditioner):
    """``D(x, sigma)`` around a network that ``process`` trained on times instead of noise levels."""

    def __init__(self, network: nn.Module, process: Process) -> None:
        super().__init__(network)
        self.process = process

    def scalings(self, sigma: Tensor) -> Scalings:
        of_x, of_output = self.process.factors(sigma)
        return Scalings(of_x, of_output, 1 / self.process.shrink(sigma), self.process.time(sigma))
