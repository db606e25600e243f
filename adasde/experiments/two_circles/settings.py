"""The numbers of the experiment, checked before anything is spent."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from adasde.errors import ParamsError
from adasde.experiments.two_circles.circles import Circles


@dataclass(frozen=True)
class Settings:
    """All numbers of the experiment; ``circles``, ``points`` and ``gammas`` are the paper's.

    Attributes:
        steps: numbers of steps N >= 1; kept in ascending order, each once.
        gammas: noise injections >= 0; likewise ordered, with 0 (the ODE) always among them.
        points: size of the training set.
        samples: size of every other cloud; cut into ``groups`` of equal size, each a measurement of its
            own, whose spread gives the confidence bands.
        block: how many points of a group the exact W1 in the plane takes (its cost is cubic).
        iterations, batch, rate: EDM training with Adam, a warm-up and a cosine to zero; the weights are
            averaged over the last twentieth of the iterations or so.
        width, depth: of the residual MLP, small on purpose: its error is to be seen.
        seed: of training, data, latents and noises.

    Raises:
        ParamsError: a value is out of range.
    """

    steps: tuple[int, ...] = (5, 10, 15, 20, 25, 30, 40)
    gammas: tuple[float, ...] = (0.0, 0.001, 0.005, 0.01)
    points: int = 20_000
    samples: int = 40_000
    groups: int = 10
    block: int = 700
    iterations: int = 2_500
    batch: int = 256
    rate: float = 2e-3
    width: int = 32
    depth: int = 3
    seed: int = 0
    circles: Circles = field(default_factory=Circles)

    def __post_init__(self) -> None:
        if not self.steps or min(self.steps) < 1:
            raise ParamsError(f"steps must be whole numbers of at least 1, got {list(self.steps)}.")
        if not all(math.isfinite(gamma) and gamma >= 0 for gamma in self.gammas):
            raise ParamsError(f"gamma must be finite and not negative, got {list(self.gammas)}.")
        if not any(self.gammas):
            raise ParamsError(
                f"gamma needs at least one value above 0, to compare with the ODE; got {list(self.gammas)}."
            )
        if self.groups < 2 or not 2 <= self.block <= self.group:
            raise ParamsError(
                f"{self.samples} samples in {self.groups} groups of {self.group} give no confidence band "
                f"with blocks of {self.block}: it takes two groups or more, no smaller than a block, and two "
                "points or more in a block."
            )
        for name, lowest in (("points", 2), ("iterations", 1), ("batch", 1), ("seed", 0)):
            if getattr(self, name) < lowest:
                raise ParamsError(f"{name} must be at least {lowest}, got {getattr(self, name)}.")
        object.__setattr__(self, "steps", tuple(sorted(set(self.steps))))
        object.__setattr__(self, "gammas", tuple(sorted({0.0, *self.gammas})))

    @property
    def group(self) -> int:
        """Points of one group."""
        return self.samples // max(1, self.groups)


QUICK = Settings(steps=(5, 20, 40), samples=8_000, groups=8, block=400, iterations=1_500)
"""For a look in well under a minute."""
