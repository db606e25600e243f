"""The learned numbers of AdaSDE: a frozen, validated table and its JSON form (2510.23285)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from adasde.errors import CoefficientsError
from adasde.sampling.interpolation import interpolated
from adasde.storage import read_pointed
from adasde.utils.atomic_io import write_json

SCHEMA_VERSION = 3
"""The newest one. Version 1 is AdaSDE's own step; 2 adds the plug-in form, 3 the multistep form."""

TABLE = ("sigmas", "gamma", "midpoint", "direction_scale", "time_scale", "weights")
OWN = "adasde"
"""The name of AdaSDE's own step."""

MULTISTEP = "adasde-multistep"
"""The name of the multistep form, which learns weights of earlier evaluations (``solvers.Multistep``)."""

DOCUMENTS = ("model", "provenance", "measured")


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Learned coefficients of an N-step sampler, in one of three forms (K = points of a step).

    AdaSDE's own step has K points. In the plug-in form ``solver`` names a classical solver with E evaluations
    a step: both scales are [N, E], ``midpoint`` and ``weights`` are empty, [N, 0] (``solvers.PlugIn``). In
    the multistep form, ``adasde-multistep``, a step has one evaluation: both scales are [N, 1], ``midpoint``
    is empty, and ``weights`` [N, H] belong to the H newest evaluations, newest first (0 before the first).

    Attributes:
        sigmas: [N+1] time grid t_0 > ... > t_N > 0, in the units of the data.
        gamma: [N] stochastic coefficient γ >= 0, 0 at the first step: t̂ = (1 + γ) t.
        midpoint: [N, K] exponent r in (0, 1) (the paper's ξ): m = s^r t̂^(1-r) for the step from t to s.
        direction_scale: [N, K] λ > 0, scale of the direction at m.
        time_scale: [N, K] μ > 0; the network is evaluated at noise level μ m.
        weights: [N, K] w, each row sums to 1.
        afs: the first evaluation is the analytic first step, d = x̂ / sqrt(1 + t̂²).
        solver, options: ``adasde``, ``adasde-multistep``, or the solver behind the plug-in and its options.
        model, provenance, measured: JSON documents kept beside the table: the model they belong to (``name``,
            ``sha256``), how they were made, what was measured with them.

    Tensors (any float dtype, kept as float64 on the CPU, gradients kept) or nested lists are accepted.

    Raises:
        CoefficientsError: a shape, a range or a value that is not finite, naming the field.
    """

    sigmas: Tensor
    gamma: Tensor
    midpoint: Tensor
    direction_scale: Tensor
    time_scale: Tensor
    weights: Tensor
    afs: bool
    solver: str = OWN
    options: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in TABLE:
            object.__setattr__(self, name, _as_float64(name, getattr(self, name)))
        self._check_shapes()
        for name, holds, rule in self._rules():
            value = getattr(self, name)
            if not (bool(torch.isfinite(value).all()) and bool(holds.all())):
                raise CoefficientsError(f"{name} must be {rule}, got {value.tolist()}.")
        if not (isinstance(self.solver, str) and isinstance(self.options, dict)):
            raise CoefficientsError(
                f"solver must be a name and options a mapping, got {self.solver!r} and {self.options!r}."
            )
        if not isinstance(self.afs, bool):
            raise CoefficientsError(f"afs must be true or false, got {self.afs!r}.")

    def _check_shapes(self) -> None:
        leading = "midpoint" if self.solver == OWN else "direction_scale"
        shape = getattr(self, leading).shape
        steps = len(self.sigmas) - 1 if self.sigmas.ndim == 1 else 0
        points = shape[-1] if len(shape) == 2 else 0
        if steps < 1 or points < 1:
            raise CoefficientsError(
                f"need sigmas [N+1] and {leading} [N, K] with N, K >= 1, got shapes "
                f"{list(self.sigmas.shape)} and {list(shape)}."
            )
        remembered = self.weights.shape[-1] if self.weights.ndim == 2 else 0
        widths = {
            OWN: {},
            MULTISTEP: {"midpoint": 0, "direction_scale": 1, "time_scale": 1, "weights": max(1, remembered)},
        }.get(self.solver, {"midpoint": 0, "weights": 0})
        for name in TABLE[1:]:
            expected = [steps] if name == "gamma" else [steps, widths.get(name, points)]
            if list(getattr(self, name).shape) != expected:
                raise CoefficientsError(
                    f"{name} must have shape {expected} for {steps} steps of {points} point(s), "
                    f"got {list(getattr(self, name).shape)}."
                )

    def _rules(self) -> list[tuple[str, Tensor, str]]:
        """(field, what must hold everywhere, the rule in words)."""
        decreasing = (self.sigmas > 0) & (torch.diff(self.sigmas, append=self.sigmas.new_zeros(1)) < 0)
        first_is_zero = torch.cat([self.gamma[:1] == 0, self.gamma[1:] >= 0])
        sums = self.weights.sum(1) if self.weights.numel() else torch.ones(1)
        early = self.weights.triu(1) if self.solver == MULTISTEP else torch.zeros(1)
        return [
            ("sigmas", decreasing, "finite, positive and strictly decreasing"),
            ("gamma", first_is_zero, "finite, 0 at the first step and >= 0 at the others"),
            ("midpoint", (self.midpoint > 0) & (self.midpoint < 1), "finite and inside (0, 1)"),
            ("direction_scale", self.direction_scale > 0, "finite and > 0"),
            ("time_scale", self.time_scale > 0, "finite and > 0"),
            ("weights", (sums - 1).abs() < 1e-6, "finite, and each row must sum to 1"),
            ("weights", early == 0, "0 for evaluations before the first step (row i has i + 1)"),
        ]

    @property
    def steps(self) -> int:
        """Number of intervals N."""
        return len(self.gamma)

    @property
    def points(self) -> int:
        """Number of points K of every step (0 in the plug-in and the multistep form)."""
        return self.midpoint.shape[1]

    @property
    def evaluations(self) -> int:
        """Network evaluations of a step: K + 1, those of the solver behind the plug-in, or 1 (multistep)."""
        return self.points + 1 if self.solver == OWN else self.direction_scale.shape[1]

    @property
    def nfe(self) -> int:
        """Network evaluations per sample, one less with the analytic first step."""
        return self.steps * self.evaluations - int(self.afs)

    def check_model(self, sha256: str, *, force: bool = False) -> None:
        """Raise if the checkpoint differs from the one these coefficients were distilled for.

        Raises:
            CoefficientsError: ``model["sha256"]`` is known and differs, unless ``force``.
        """
        known = self.model.get("sha256")
        if known and known != sha256 and not force:
            raise CoefficientsError(
                f"these coefficients were distilled for {self.model.get('name', 'a model')!r} with sha256 "
                f"{known[:12]}…, but the checkpoint has {sha256[:12]}…. Distil again for this checkpoint, "
                "or use --force (force=True) if you know that they fit."
            )

    def interpolate(self, nfe: int, *others: Coefficients) -> Coefficients:
        """Coefficients proposed for ``nfe`` evaluations without distillation: interpolated in log sigma.

        With ``others`` of the same form, the two nearest budgets around ``nfe`` are blended; outside their
        range the nearest is stretched. ``benchmarks/interpolation.py`` measures the quality; distillation can
        start from the result.

        Raises:
            CoefficientsError: no number of steps spends exactly ``nfe``, or the tables have different forms
                or ends.
        """
        steps, rest = divmod(nfe + int(self.afs), self.evaluations)
        if rest or steps < 1:
            raise CoefficientsError(
                f"steps of {self.evaluations} evaluations{' under AFS' * self.afs} cannot spend nfe={nfe}."
            )
        known = {one.nfe: one for one in (*others, self)}
        forms = [known[budget]._form() for budget in sorted(known)]
        if len(set(forms)) > 1:
            raise CoefficientsError(
                "only tables of the same solver, options, points, AFS and ends can be interpolated, got "
                f"{' and '.join(map(str, forms))}."
            )
        tables = {budget: {k: v.detach() for k, v in one._tensors().items()} for budget, one in known.items()}
        table, sources = interpolated(tables, nfe, steps)
        values: dict[str, Any] = table | {"provenance": {"interpolated_from": sources}, "measured": {}}
        return replace(self, **values)

    def _form(self) -> tuple[Any, ...]:
        ends = [round(float(self.sigmas[end]), 9) for end in (0, -1)]
        width = self.weights.shape[1]
        return (self.solver, json.dumps(self.options, sort_keys=True), width, self.afs, *ends)

    def _tensors(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in TABLE}

    @classmethod
    def load(cls, source: str | os.PathLike[str]) -> Coefficients:
        """Coefficients in a file written by ``save``, at any path or address that ``adasde.storage`` reads.

        Addresses are ``s3://bucket/registry/digits/champion.json``, ``https://…`` and
        ``models:/adasde-digits-nfe5@champion``. A pointer such as champion.json is followed to the
        coefficients that it names, and those are verified.

        Raises:
            CoefficientsError: missing, truncated, another schema version, unknown or missing keys, or
                an invalid table; the message names the file.
            StoreError: the address cannot be reached, or its content does not match its checksum.
        """
        try:
            place, data = read_pointed(source)
        except OSError as error:
            raise CoefficientsError(
                f"cannot read coefficients {error.filename or source}: {error.strerror}."
            ) from error
        try:
            return cls.from_document(json.loads(data))
        except ValueError as error:
            raise CoefficientsError(
                f"{place} is not a complete coefficient file ({error}). It was probably cut short or edited: "
                "copy it again or distil again."
            ) from error
        except CoefficientsError as error:
            raise CoefficientsError(f"{place}: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON file, complete or not at all; floats are kept exactly.

        Raises:
            DataError: the folder cannot be written or the disk is full.
        """
        write_json(path, self.to_document())

    def to_document(self) -> dict[str, Any]:
        """The JSON document that ``save`` writes, of the lowest schema version that can hold the table."""
        table = {name: value.tolist() for name, value in self._tensors().items()}
        documents = {name: getattr(self, name) for name in DOCUMENTS}
        form = {} if self.solver == OWN else {"solver": self.solver, "options": self.options}
        version = {OWN: 1, MULTISTEP: 3}.get(self.solver, 2)
        head = {"schema_version": version, "nfe": self.nfe, "afs": self.afs}
        return head | form | table | documents

    @classmethod
    def from_document(cls, document: Any) -> Coefficients:
        """Coefficients in a JSON document of ``to_document``.

        Raises:
            CoefficientsError: another schema version, unknown or missing keys, or an invalid table.
        """
        if not isinstance(document, dict) or "schema_version" not in document:
            raise CoefficientsError("this is not a coefficient file: it has no schema_version.")
        version = document["schema_version"]
        if version not in range(1, SCHEMA_VERSION + 1):
            raise CoefficientsError(
                f"schema version {version!r} is unknown; this program reads versions 1 to {SCHEMA_VERSION}. "
                "Use the version of adasde that wrote the file, or a newer one."
            )
        values = {key: value for key, value in document.items() if key not in ("schema_version", "nfe")}
        form = {"solver", "options"}
        names = {item.name for item in fields(cls)} - (form if version == 1 else set())
        missing, extra = sorted(names - set(DOCUMENTS) - set(values)), sorted(set(values) - names)
        if missing or extra:
            raise CoefficientsError(f"missing keys: {missing or 'none'}; unknown keys: {extra or 'none'}.")
        table = cls(**values)
        if document.get("nfe", table.nfe) != table.nfe:
            raise CoefficientsError(
                f"nfe says {document['nfe']}, but the table needs {table.nfe} evaluations."
            )
        return table


def neutral(sigmas: Tensor, *, points: int = 1, afs: bool = False) -> Coefficients:
    """Coefficients with which AdaSDE is exactly DPM-Solver-2 (r = 1/2, γ = 0, λ = μ = 1)."""
    steps = len(sigmas) - 1
    ones = torch.ones(steps, points, dtype=torch.float64)
    return Coefficients(sigmas, torch.zeros(steps), ones / 2, ones, ones, ones / points, afs)


def _as_float64(name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.to(device="cpu", dtype=torch.float64)
    try:
        return torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise CoefficientsError(f"{name} must be numbers in a rectangular list: {error}.") from error
