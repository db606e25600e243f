"""The base class of solvers, and what a step sees and remembers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar

from torch import Tensor

from adasde.errors import SolverError
from adasde.sampling.schedules import unknown
from adasde.sampling.wrappers import Thresholded
from adasde.types import Denoiser


@dataclass(frozen=True)
class Node:
    """An evaluation of an earlier step: D(state, sigma) = output, and the noise drawn there, if any."""

    sigma: Tensor
    state: Tensor
    output: Tensor
    noise: Tensor | None = None

    @cached_property
    def direction(self) -> Tensor:
        """dx/dsigma of the probability-flow ODE at the node [B, *shape]; computed once."""
        return (self.state - self.output) / self.sigma


History = tuple[Node, ...]
"""Earlier nodes, newest first."""


@dataclass(frozen=True)
class Interval:
    """A step's noise levels, from ``start`` down to ``end``, and its place in the trajectory.

    ``remaining``: steps after this one. ``noise(like)``: the step's standard normal noise; every call within
    one step gives the same.
    """

    index: int
    start: Tensor
    end: Tensor
    remaining: int
    noise: Callable[[Tensor], Tensor]

    @property
    def total(self) -> int:
        """Number of steps of the trajectory."""
        return self.index + 1 + self.remaining


Step = tuple[Tensor, History]
"""What a step returns: the state at its end, and the history for the next step."""


def number(default: float, low: float, high: float = math.inf, *, integer: bool = False) -> Any:
    """An option of a solver: a finite number in [low, high]."""
    kind = "a whole number" if integer else "a number"
    rule = f"{kind} {low} or more" if high == math.inf else f"{kind} from {low} to {high}"

    def check(solver: str, name: str, value: Any) -> None:
        finite = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not finite or not low <= value <= high or (integer and value != int(value)):
            raise SolverError(f"{solver} needs {name} to be {rule}, got {name}={value!r}.")

    return field(default=default, metadata={"check": check})


def choice(default: str, among: Iterable[str]) -> Any:
    """An option of a solver: one of the words ``among``."""

    def check(solver: str, name: str, value: Any) -> None:
        if value not in among:
            raise SolverError(f"{solver}: {unknown(name, str(value), among)}")

    return field(default=default, metadata={"check": check})


@dataclass(frozen=True)
class Solver(ABC):
    """One step of a sampler; subclasses are frozen dataclasses whose fields are the solver's options.

    Attributes:
        noise_option: the option that scales the noise; at 0 the solver is deterministic. None: no noise.

    Raises:
        SolverError: an option is out of range.
    """

    noise_option: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        for option in fields(self):
            if check := option.metadata.get("check"):
                check(type(self).__name__, option.name, getattr(self, option.name))

    @property
    def evaluations(self) -> int:
        """Denoiser calls of a step."""
        return 1

    @property
    def convergence(self) -> int:
        """Global order on a smooth grid from a cold start, without noise: 2 at most after an Euler step."""
        return min(getattr(self, "order", 2), 2)

    @property
    def stochastic(self) -> bool:
        """Whether steps draw noise."""
        return self.noise_option is not None and getattr(self, self.noise_option) > 0

    @property
    def scale_free(self) -> bool:
        """Whether the solver commutes with scaling data and noise levels together."""
        return True

    @abstractmethod
    def step(self, denoise: Denoiser, x: Tensor, interval: Interval, history: History) -> Step:
        """Step from the state ``x`` [B, *shape] at ``interval.start`` to ``interval.end``."""


@dataclass(frozen=True)
class DataPrediction(Solver):
    """A solver whose formula is in clean estimates.

    Attributes:
        thresholding: dynamic thresholding of the clean estimates, for data in [-1, 1] (see ``Thresholded``).
    """

    thresholding: bool = field(default=False, kw_only=True)

    @property
    def scale_free(self) -> bool:
        """Whether the solver commutes with scaling: not where the range of the data is known."""
        return not self.thresholding

    def clean(self, denoise: Denoiser) -> Denoiser:
        """The denoiser that the formula sees."""
        return Thresholded(denoise) if self.thresholding else denoise


def newest(history: History, order: int, remaining: int, lower_order_final: bool) -> History:
    """The ``order`` newest nodes; with ``lower_order_final`` at most one for every step that is left.

    ``remaining``: steps after the one that uses the nodes.
    """
    return history[: min(order, remaining + 1) if lower_order_final else order]


def remember(denoise: Denoiser, x: Tensor, sigma: Tensor, history: History, keep: int) -> History:
    """``history`` with a new evaluation at (x, sigma) in front, cut to the ``keep`` newest nodes."""
    return (Node(sigma, x, denoise(x, sigma)), *history)[:keep]
