"""The schema of ``params.yaml``: one place for every number, refused before anything runs if it is wrong.

A section that may differ between numbers of network evaluations (NFE) carries ``per_nfe``: a map from
NFE to the keys that change there. ``params.for_nfe(5)`` gives the values that hold at 5 evaluations.
"""

from __future__ import annotations

import os
import re
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from adasde.config.sections import EvaluateParams, NetworkParams, PromotionParams, SampleParams, StorageParams
from adasde.errors import CheckpointError, ParamsError, SolverError
from adasde.utils.yaml_schema import PerNfe, Positive, PositiveInt, Section, Weight, explain, read_yaml

if TYPE_CHECKING:
    from adasde.distillation.distill import DistillSettings

STUDENT = "AdaSDE"
"""The label of the distilled sampler's row."""


def _known_schedule(name: str) -> str:
    from adasde.sampling.schedules import SCHEDULES, unknown

    if name not in SCHEDULES:
        raise ValueError(unknown("schedule", name, SCHEDULES))
    return name


def _known_solver(name: str) -> str:
    from adasde.sampling.solvers import make_solver

    try:
        make_solver(name)
    except SolverError as error:
        raise ValueError(str(error)) from error
    return name


def _known_judge(name: str) -> str:
    from adasde.models.hub.cards import evaluator_of

    try:
        return evaluator_of(name).name
    except CheckpointError as error:
        raise ValueError(str(error)) from error


JudgeName = Annotated[str, AfterValidator(_known_judge)]
ScheduleName = Annotated[str, AfterValidator(_known_schedule)]
SolverName = Annotated[str, AfterValidator(_known_solver)]


class Grid(PerNfe):
    """The student's time grid, as in ``adasde.schedule``."""

    name: ScheduleName = "time_uniform"
    rho: Positive = 1.0
    sigma_min: Positive = 0.002
    sigma_max: Positive = 80.0

    @model_validator(mode="after")
    def _check_ends(self) -> Self:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min ({self.sigma_min}) must be below sigma_max ({self.sigma_max})")
        return self


class TeacherParams(PerNfe):
    """The classical solver on a finer grid whose states the student learns to hit."""

    solver: SolverName = "dpm2"
    inserted: Annotated[int, Field(ge=0, le=1000)] = 3
    substeps: Annotated[int, Field(ge=1, le=1000)] = 2
    trajectories: PositiveInt = 10000
    shard: PositiveInt = 2500
    batch: PositiveInt = 500


class DistillParams(PerNfe):
    """The recipe, field by field that of ``distillation.DistillSettings``, and what it starts from.

    ``start``: a coefficient file, a path or an address, interpolated to the budget where its NFE differs.
    """

    start: Annotated[str, Field(min_length=1)] | None = None
    solver: str = "adasde"
    solver_options: dict[str, Any] = Field(default={})
    history: Annotated[int, Field(ge=1, le=64)] = 4
    points: Annotated[int, Field(ge=1, le=16)] = 1
    learn_grid: bool = False
    gamma_max: Annotated[float, Field(ge=0, le=100)] = 0.02
    scale_dir: Annotated[float, Field(ge=0, lt=1)] = 0.3
    scale_time: Annotated[float, Field(ge=0, lt=1)] = 0.5
    trajectories: PositiveInt = 16000
    batch: PositiveInt = 128
    micro_batch: Annotated[int, Field(ge=0)] = 0
    lr: Annotated[float, Field(gt=0, le=10)] = 0.05
    lr_final: Annotated[float, Field(ge=0, le=10)] = 0.002
    inner_weight: Weight = 0.0
    pixel_weight: Weight = 0.1
    feature_weight: Weight = 0.3
    energy_weight: Weight = 0.0
    paired_final: Annotated[float, Field(ge=0, le=1)] = 1.0
    max_gradient: Positive = 1.0

    @model_validator(mode="after")
    def _same_states_everywhere(self) -> Self:
        for key in ("points", "solver", "learn_grid"):
            if any(key in override for override in self.per_nfe.values()):
                raise ValueError(
                    f"{key} decides which states of the teacher are kept and cannot differ between budgets"
                )
        return self

    @model_validator(mode="after")
    def _check_recipe(self) -> Self:
        self.settings()
        return self

    def settings(self) -> DistillSettings:
        """The same numbers for ``adasde.distillation.distill``."""
        from adasde.distillation.distill import DistillSettings

        try:
            return DistillSettings(**self.model_dump(exclude={"per_nfe", "start"}))
        except (ParamsError, TypeError) as error:
            raise ValueError(str(error)) from error


class Baseline(PerNfe):
    """A classical solver to compare with, at the grid and AFS setting it likes best."""

    solver: SolverName
    afs: bool = False
    schedule: ScheduleName = "time_uniform"
    rho: Positive = 1.0
    options: dict[str, Any] = Field(default={})

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        from adasde.sampling.solvers import make_solver, steps_for_nfe

        try:
            make_solver(self.solver, self.options)
            for nfe in self.per_nfe:
                steps_for_nfe(self.solver, nfe, afs=self.per_nfe[nfe].get("afs", self.afs))
        except (SolverError, TypeError) as error:
            raise ValueError(str(error)) from error
        return self

    def steps(self, nfe: int) -> int | None:
        """Intervals that spend ``nfe`` evaluations, or None where this solver cannot spend just that."""
        from adasde.sampling.solvers import steps_for_nfe

        try:
            return steps_for_nfe(self.solver, nfe, afs=self.for_nfe(nfe).afs)
        except SolverError:
            return None


def row_file(label: str) -> str:
    """The file of a row of samples: ``DPM-Solver++(2M) + AFS`` -> ``dpm-solverpp-2m-afs.safetensors``."""
    words = re.sub(r"[^a-z0-9]+", "-", label.lower().replace("++", "pp")).strip("-")
    return f"{words}.safetensors"


class Params(Section):
    """All of params.yaml."""

    model: Annotated[str, Field(min_length=1)]
    nfe: Annotated[list[PositiveInt], Field(min_length=1)]
    features: Annotated[str, Field(min_length=1)] | None = None
    prompts: Annotated[str, Field(min_length=1)] | None = None
    judges: list[JudgeName] = Field(default=[])
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    guidance: Weight = 1.0
    afs: bool = True
    network: NetworkParams = NetworkParams()
    schedule: Grid = Grid()
    teacher: TeacherParams = TeacherParams()
    distill: DistillParams = DistillParams()
    sample: SampleParams = SampleParams()
    evaluate: EvaluateParams = EvaluateParams()
    baselines: dict[str, Baseline] = Field(default={})
    promotion: PromotionParams = PromotionParams()
    storage: StorageParams = StorageParams()

    @model_validator(mode="after")
    def _check_budgets(self) -> Self:
        if len(set(self.nfe)) < len(self.nfe):
            raise ValueError(f"nfe names a number twice: {self.nfe}")
        if len(set(self.judges)) < len(self.judges):
            raise ValueError(f"judges names one twice: {', '.join(self.judges)}")
        try:
            for nfe in chain(self.nfe, self.distill.per_nfe):
                self.steps(nfe)
        except SolverError as error:
            raise ValueError(str(error)) from error
        return self

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        files = [row_file(label) for label in (STUDENT, *self.baselines)]
        if len(set(files)) < len(files):
            labels = ", ".join(self.baselines)
            raise ValueError(f"two rows of baselines are too alike, or called {STUDENT}: {labels}")
        return self

    @model_validator(mode="after")
    def _check_images(self) -> Self:
        settings, sample = self.evaluate, self.sample
        needed = max(settings.kid_subset_size, settings.neighbourhood + 1)
        if needed > sample.images:
            raise ValueError(
                f"sample.images = {sample.images} is too few for evaluate.kid_subset_size = "
                f"{settings.kid_subset_size} and evaluate.neighbourhood = {settings.neighbourhood}; "
                f"it must be at least {needed}"
            )
        training = self.training_seeds
        if training.start < sample.seeds.stop and sample.seeds.start < training.stop:
            raise ValueError(
                f"the samples' seeds {sample.first_seed} to {sample.seeds.stop - 1} overlap the "
                f"teacher's, {training.start} to {training.stop - 1}; move sample.first_seed"
            )
        return self

    @property
    def model_name(self) -> str:
        """What the model is called in names: ``my-digits`` for ``s3://bucket/models/my-digits``.

        ``my-function`` for ``module:my_function``, ``digits`` for ``file:models/digits.safetensors``.
        """
        _, colon, rest = self.model.partition(":")
        plain = rest if colon and not rest.startswith("//") else self.model
        name = plain.rstrip("/").rpartition("/")[2].removesuffix(".safetensors")
        return re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.") or "model"

    @property
    def training_seeds(self) -> range:
        """Seeds of the teacher's trajectories: another block of 2^32 for every ``seed``."""
        start = self.seed << 32
        return range(start, start + self.teacher.trajectories)

    def steps(self, nfe: int) -> int:
        """Intervals of the student that spends ``nfe`` evaluations.

        Raises:
            SolverError: no number of intervals does; names the nearest NFE that are possible.
        """
        from adasde.sampling.solvers import steps_for_nfe

        return steps_for_nfe(self.distill.solver, nfe, afs=self.afs, points=self.distill.points)

    def for_nfe(self, nfe: int) -> Params:
        """These params with every ``per_nfe`` of the student resolved; ``nfe`` is then ``[nfe]``.

        Raises:
            SolverError: ``nfe`` does not fit the student (see ``steps``).
        """
        self.steps(nfe)
        sections = {name: getattr(self, name).for_nfe(nfe) for name in ("schedule", "teacher", "distill")}
        rows = {label: row.for_nfe(nfe) for label, row in self.baselines.items() if row.steps(nfe)}
        return self.model_copy(update={"nfe": [nfe], "baselines": rows, **sections})


def load_params(path: str | os.PathLike[str] = "params.yaml") -> Params:
    """Read and check params.yaml.

    Raises:
        ParamsError: the file is missing, is not YAML, or says something that cannot be used; the message
            names the file, and for each key its value, what is allowed, and the nearest valid name.
    """
    return check_params(read_yaml(path), source=str(path))


def check_params(values: Any, *, source: str = "params") -> Params:
    """The same for a mapping already read; ``source`` is what the messages call it (ParamsError)."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise ParamsError(explain(error, Params, source=source)) from error
