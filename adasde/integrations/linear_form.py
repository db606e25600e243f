"""A sampler with fixed coefficients, unrolled: between two network evaluations everything is linear.

Every solver here combines states, clean estimates and noises with numbers that are known before sampling.
Walking once over symbols instead of images yields those numbers. Programs that own the sampling loop and ask
for one update after each evaluation (a scheduler of ``diffusers``) then serve every solver in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from adasde.errors import SolverError
from adasde.sampling.coefficients import Coefficients
from adasde.sampling.solvers import History, Interval, sampler_of
from adasde.sampling.wrappers import AnalyticFirstStep

NEGLIGIBLE = 1e-13
"""Coefficients below this share of a row's largest are rounding."""


@dataclass(frozen=True)
class Row:
    """A state as a sum: factors of the states at evaluations, their clean estimates, and steps' noises."""

    states: Mapping[int, float]
    outputs: Mapping[int, float]
    noises: Mapping[int, float]


@dataclass(frozen=True)
class LinearForm:
    """What a coefficient table asks of a network, one evaluation after the other.

    Attributes:
        start: the first evaluated state is ``start`` times a latent of unit variance.
        sigmas: the noise level that the network is told at each evaluation.
        rows: what follows each evaluation: the state at the next one, and at last the image.
        entries: the evaluations at which a walk may begin from any state, because they are the first of
            their step and nothing from before is read any more, with the noise level of that state.
    """

    start: float
    sigmas: tuple[float, ...]
    rows: tuple[Row, ...]
    entries: Mapping[int, float]


class Progress:
    """Walks through an unrolled sampler: one call after each network evaluation, with what was seen there."""

    def __init__(self, unrolled: LinearForm, begin: int = 0) -> None:
        """``begin``: the evaluation of the first state that will be given, 0 or one of ``entries``."""
        self.unrolled = unrolled
        self.done = begin
        self._kept: dict[tuple[str, int], Tensor] = {}

    def advance(self, state: Tensor, output: Tensor, draw: Callable[[int], Tensor]) -> Tensor:
        """The state of the next evaluation, or the image after the last one.

        ``state`` [B, *shape] is the one just evaluated, ``output`` its clean estimate D, and ``draw(step)``
        gives the standard normal noise of a step; it is asked once a step.
        """
        rows = self.unrolled.rows
        row, later = rows[self.done], rows[self.done + 1 :]
        kept = self._kept | {("states", self.done): state, ("outputs", self.done): output}
        total: Tensor | None = None
        for kind in ("states", "outputs", "noises"):
            for index, factor in getattr(row, kind).items():
                if (kind, index) not in kept:
                    kept[kind, index] = draw(index)
                term = kept[kind, index]
                total = term * factor if total is None else total.add_(term, alpha=factor)
        self._kept = {
            (kind, index): value
            for (kind, index), value in kept.items()
            if any(index in getattr(row, kind) for row in later)
        }
        self.done += 1
        assert total is not None  # no state is a sum of nothing
        return total


def linear_form(coefficients: Coefficients) -> LinearForm:
    """The linear form of the sampler that ``adasde.sample`` runs with these coefficients.

    A state is written from the first evaluated state of its own step, so that a program may change states
    between steps (inpainting does).

    Raises:
        SolverError: noise is injected before the first evaluation (a solver of one evaluation a step under
            AFS), which a program that asks only afterwards cannot do; or the solver does not exist.
    """
    return _Walk(coefficients).result()


class _Walk:
    """The walk over symbols: a vector holds the numbers of [states | clean estimates | noises].

    The state symbol of a step stands at first for its start. Once the step is done, it is replaced by what
    the network was first shown in it.
    """

    def __init__(self, coefficients: Coefficients) -> None:
        self.steps, self.count = coefficients.steps, coefficients.nfe
        self.size = 2 * self.count + self.steps
        self.told: list[float] = []
        self.shown: list[Tensor] = []
        self.sigmas, self.gamma = coefficients.sigmas.detach(), coefficients.gamma.detach()
        self.solver = sampler_of(coefficients)
        self.network = AnalyticFirstStep(self._evaluate) if coefficients.afs else self._evaluate

    def _symbol(self, index: int) -> Tensor:
        vector = torch.zeros(1, self.size, dtype=torch.float64)
        vector[0, index] = 1
        return vector

    def _evaluate(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.shown.append(x)
        self.told.append(float(sigma))
        return self._symbol(self.count + len(self.told) - 1)

    def _noise(self, step: int, like: Tensor) -> Tensor:
        return self._symbol(2 * self.count + step)

    @torch.no_grad()
    def result(self) -> LinearForm:
        vectors: list[Tensor] = []
        history: History = ()
        entries: dict[int, float] = {}
        x, start = self._symbol(0), float(self.sigmas[0])
        before: Tensor | None = None  # the end of the last step that has asked the network
        for i in range(self.steps):
            index, self.shown = len(self.told), []
            if before is not None:
                x = self._symbol(index)
            remaining = self.steps - 1 - i
            interval = Interval(i, self.sigmas[i], self.sigmas[i + 1], remaining, partial(self._noise, i))
            x, history = self.solver.step(self.network, x, interval, history)
            if not self.shown:  # the analytic first step alone
                continue
            first = self.shown[0]
            if first[0, index] == 1:  # new noise apart, the walk is at the step's start
                entries[index] = float(self.sigmas[i] * (1 + self.gamma[i]))
            if before is None:
                start *= self._alone(first)
            else:
                vectors.append(first + first[0, index] * (before - self._symbol(index)))
            seen = partial(_seen, first=first, index=index)
            vectors += [seen(vector) for vector in self.shown[1:]]
            before = x = seen(x)
            history = tuple(replace(n, state=seen(n.state), output=seen(n.output)) for n in history)
        rows = tuple(self._row(vector) for vector in [*vectors, x])
        free = {e: level for e, level in entries.items() if _forgets(rows[e:], e)}
        return LinearForm(start, tuple(self.told), rows, free)

    def _alone(self, first: Tensor) -> float:
        """The factor between the latent's state and the first evaluated one."""
        if bool((first[0, 1:] != 0).any()):
            raise SolverError(
                "these coefficients inject noise before the first network evaluation (AFS takes the whole "
                "first step), so the image cannot be walked from one evaluation to the next. Use "
                "adasde.sample, or distil without AFS."
            )
        return float(first[0, 0])

    def _row(self, vector: Tensor) -> Row:
        numbers = vector[0].tolist()
        least = NEGLIGIBLE * max(map(abs, numbers))
        n = self.count

        def part(start: int, end: int) -> dict[int, float]:
            return {i: value for i, value in enumerate(numbers[start:end]) if abs(value) > least}

        return Row(part(0, n), part(n, 2 * n), part(2 * n, len(numbers)))


def _forgets(rows: Sequence[Row], evaluation: int) -> bool:
    """Whether ``rows`` read no state and no clean estimate from before ``evaluation``."""
    return all(index >= evaluation for row in rows for index in (*row.states, *row.outputs))


def _seen(vector: Tensor, *, first: Tensor, index: int) -> Tensor:
    """``vector`` in which symbol ``index`` no longer means the step's start but its first evaluated state.

    That state is ``first`` = k * start + rest, so start = (state - rest) / k.
    """
    rest = first.clone()
    rest[0, index] = 0
    share = vector[0, index] / first[0, index]
    out = vector - share * rest
    out[0, index] = share
    return out
