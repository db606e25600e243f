"""The linear form of a sampler: between two network evaluations every state is a linear combination.

Every solver combines states, clean estimates and noises with numbers that are known before sampling. One run
over symbols instead of images yields those numbers. Programs that own the sampling loop and need one update
after each evaluation (a scheduler of ``diffusers``) can then use every solver in the same way.
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
"""Factors below this share of a combination's largest are rounding errors."""


@dataclass(frozen=True)
class Combination:
    """A state as a sum: factors by index of evaluated states, clean estimates, and noises of steps."""

    states: Mapping[int, float]
    outputs: Mapping[int, float]
    noises: Mapping[int, float]


@dataclass(frozen=True)
class LinearForm:
    """A sampler as a sequence of network evaluations.

    Attributes:
        start: the first evaluated state is ``start`` times a latent of unit variance.
        sigmas: noise level given to the network at each evaluation.
        rows: the state after each evaluation: that of the next one, and at last the image.
        entries: evaluations at which sampling can begin from any state, with the noise level of that state:
            the first ones of steps that use nothing from before.
    """

    start: float
    sigmas: tuple[float, ...]
    rows: tuple[Combination, ...]
    entries: Mapping[int, float]


class LinearSampler:
    """A run of a linear form: one call after each network evaluation."""

    def __init__(self, form: LinearForm, begin: int = 0) -> None:
        """``begin``: the first evaluation, 0 or one of ``form.entries``."""
        self.form = form
        self.done = begin
        self._kept: dict[tuple[str, int], Tensor] = {}

    def advance(self, state: Tensor, output: Tensor, draw: Callable[[int], Tensor]) -> Tensor:
        """State of the next evaluation, or the image after the last one.

        ``state`` [B, *shape] is the one just evaluated and ``output`` its clean estimate D; ``draw(step)``
        returns the standard normal noise of a step and is called once a step.
        """
        rows = self.form.rows
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
    """Linear form of the sampler that ``adasde.sample`` runs with these coefficients.

    A state depends on the first evaluated state of its own step, so that a program may change states between
    steps (as inpainting does).

    Raises:
        SolverError: noise is injected before the first evaluation (a solver of one evaluation a step under
            AFS), where such programs cannot draw it; the solver clamps clean estimates (``thresholding``), so
            that its states are no linear combinations; or the solver does not exist.
    """
    if coefficients.options.get("thresholding"):
        raise SolverError(
            f"{coefficients.solver} with dynamic thresholding has no linear form: a program that owns the "
            "sampling loop cannot run it. Sample by adasde.sample, or distil without options.thresholding."
        )
    return _SymbolicRun(coefficients).result()


class _SymbolicRun:
    """Sampling over symbols: a state is the vector of its factors of [states | clean estimates | noises].

    The state symbol of a step first means the step's start. After the step it is replaced by the first
    state that the network evaluated in it.
    """

    def __init__(self, coefficients: Coefficients) -> None:
        self.steps, self.count = coefficients.steps, coefficients.nfe
        self.size = 2 * self.count + self.steps
        self.levels: list[float] = []  # noise levels of all evaluations
        self.evaluated: list[Tensor] = []  # states of the present step's evaluations
        self.sigmas, self.gamma = coefficients.sigmas.detach(), coefficients.gamma.detach()
        self.solver = sampler_of(coefficients)
        self.network = AnalyticFirstStep(self._evaluate) if coefficients.afs else self._evaluate

    def _symbol(self, index: int) -> Tensor:
        vector = torch.zeros(1, self.size, dtype=torch.float64)
        vector[0, index] = 1
        return vector

    def _evaluate(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.evaluated.append(x)
        self.levels.append(float(sigma))
        return self._symbol(self.count + len(self.levels) - 1)

    def _noise(self, step: int, like: Tensor) -> Tensor:
        return self._symbol(2 * self.count + step)

    @torch.no_grad()
    def result(self) -> LinearForm:
        vectors: list[Tensor] = []
        history: History = ()
        entries: dict[int, float] = {}
        x, start = self._symbol(0), float(self.sigmas[0])
        before: Tensor | None = None  # end of the last step with an evaluation
        for i in range(self.steps):
            index, self.evaluated = len(self.levels), []
            if before is not None:
                x = self._symbol(index)
            remaining = self.steps - 1 - i
            interval = Interval(i, self.sigmas[i], self.sigmas[i + 1], remaining, partial(self._noise, i))
            x, history = self.solver.step(self.network, x, interval, history)
            if not self.evaluated:  # the analytic first step alone
                continue
            first = self.evaluated[0]
            if first[0, index] == 1:  # the step's start, up to new noise
                entries[index] = float(self.sigmas[i] * (1 + self.gamma[i]))
            if before is None:
                start *= self._only_factor(first)
            else:
                vectors.append(first + first[0, index] * (before - self._symbol(index)))
            rebase = partial(_rebased, first=first, index=index)
            vectors += [rebase(vector) for vector in self.evaluated[1:]]
            before = x = rebase(x)
            history = tuple(replace(n, state=rebase(n.state), output=rebase(n.output)) for n in history)
        rows = tuple(self._row(vector) for vector in [*vectors, x])
        free = {e: level for e, level in entries.items() if _forgets(rows[e:], e)}
        return LinearForm(start, tuple(self.levels), rows, free)

    def _only_factor(self, first: Tensor) -> float:
        """Factor from the latent's state to the first evaluated one."""
        if bool((first[0, 1:] != 0).any()):
            raise SolverError(
                "these coefficients inject noise before the first network evaluation (AFS replaces the "
                "first step completely), so the image cannot be computed from one evaluation to the next. "
                "Use adasde.sample, or distil without AFS."
            )
        return float(first[0, 0])

    def _row(self, vector: Tensor) -> Combination:
        numbers = vector[0].tolist()
        least = NEGLIGIBLE * max(map(abs, numbers))
        n = self.count

        def part(start: int, end: int) -> dict[int, float]:
            return {i: value for i, value in enumerate(numbers[start:end]) if abs(value) > least}

        return Combination(part(0, n), part(n, 2 * n), part(2 * n, len(numbers)))


def _forgets(rows: Sequence[Combination], evaluation: int) -> bool:
    """Whether ``rows`` use no state and no clean estimate from before ``evaluation``."""
    return all(index >= evaluation for row in rows for index in (*row.states, *row.outputs))


def _rebased(vector: Tensor, *, first: Tensor, index: int) -> Tensor:
    """``vector`` in which symbol ``index`` means the step's first evaluated state instead of its start.

    That state is ``first`` = k * start + rest, so start = (state - rest) / k.
    """
    rest = first.clone()
    rest[0, index] = 0
    share = vector[0, index] / first[0, index]
    out = vector - share * rest
    out[0, index] = share
    return out
