"""The sections of ``params.yaml``: every key with its type, default, range and help."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_type_hints

from pydantic import AfterValidator, Field, ValidationError, create_model, model_validator
from torch import Tensor

from adasde.config.metrics import MetricName
from adasde.distillation.config import DistillSettings
from adasde.errors import CheckpointError, ParamsError, SolverError, StoreError
from adasde.models.hub.cards import evaluator_of
from adasde.sampling.schedules import SCHEDULES, schedule, unknown
from adasde.sampling.solvers import make_solver, steps_for_nfe
from adasde.storage.resolve import checked_url
from adasde.utils.yaml_schema import Positive, PositiveInt, Section, Seed, Text, Weight, option


def _known_schedule(name: str) -> str:
    if name not in SCHEDULES:
        raise ValueError(unknown("schedule", name, SCHEDULES))
    return name


def _known_solver(name: str) -> str:
    try:
        make_solver(name)
    except SolverError as error:
        raise ValueError(str(error)) from error
    return name


def _known_judge(name: str) -> str:
    try:
        return evaluator_of(name).name
    except CheckpointError as error:
        raise ValueError(str(error)) from error


def _address(url: str) -> str:
    try:
        return checked_url(url)
    except StoreError as error:
        raise ValueError(str(error).rstrip(".")) from error


Judge = Annotated[str, AfterValidator(_known_judge)]
ScheduleName = Annotated[str, AfterValidator(_known_schedule)]
SolverName = Annotated[str, AfterValidator(_known_solver)]


class PerNfe(Section):
    """A section whose values may differ between numbers of network evaluations (NFE)."""

    per_nfe: dict[PositiveInt, dict[str, Any]] = option({}, "overrides at some budgets")

    def at(self, nfe: int) -> Self:
        """The section with the overrides of ``nfe`` applied, and none left."""
        values = self.model_dump(exclude={"per_nfe"}) | self.per_nfe.get(nfe, {})
        return type(self).model_validate(values)

    @model_validator(mode="after")
    def _check_overrides(self) -> Self:
        for nfe in self.per_nfe:
            try:
                self.at(nfe)
            except ValidationError as error:
                details: Any = [{**item, "loc": ("per_nfe", nfe, *item["loc"])} for item in error.errors()]
                raise ValidationError.from_exception_data("per_nfe", details) from error
        return self


class NetworkParams(Section):
    """How the frozen network runs in every stage (see ``adasde.models.core.precision``)."""

    dtype: Literal["float32", "bfloat16", "float16"] = option(
        "float32", "bfloat16 or float16: half the memory"
    )
    compiled: bool = option(False, "by torch.compile: slow to start, needs a C++ compiler")


class Grid(PerNfe):
    """The student's time grid, as in ``adasde.schedule``."""

    name: ScheduleName = option("time_uniform", "polynomial, logsnr or time_uniform")
    rho: Positive = option(1.0, "bends the grid; the paper takes 1")
    sigma_min: Positive = option(0.002, "lowest noise level")
    sigma_max: Positive = option(80.0, "highest noise level, where sampling starts")

    @model_validator(mode="after")
    def _check_ends(self) -> Self:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min ({self.sigma_min}) must be below sigma_max ({self.sigma_max})")
        return self

    def sigmas(self, steps: int, *, name: str | None = None, rho: float | None = None) -> Tensor:
        """Noise levels [steps + 1], float64; those of another schedule between the same ends by ``name``."""
        rho = self.rho if rho is None else rho
        return schedule(name or self.name, steps, sigma_min=self.sigma_min, sigma_max=self.sigma_max, rho=rho)


class TeacherParams(PerNfe):
    """The classical solver on a finer grid whose states the student learns to reach."""

    solver: SolverName = option("dpm2", "euler, heun, dpm2, dpmpp-2m, dpmpp-3m or ipndm")
    inserted: int = option(3, "M: nodes inserted into every student interval", ge=0, le=1000)
    substeps: int = option(2, "steps into which each of these is split again", ge=1, le=1000)
    trajectories: PositiveInt = option(10000, "how many to store")
    classes: Literal["balanced", "random"] = option(
        "balanced", "class of a trajectory: its seed modulo their number, or random: drawn from it"
    )
    shard: PositiveInt = option(2500, "trajectories in one file, at which a stopped run resumes")
    batch: PositiveInt = option(500, "trajectories computed together")


class _Distill(PerNfe):
    start: Text | None = option(
        None, "table to begin with, a path or address, interpolated to the budget; null: fixed"
    )

    @model_validator(mode="after")
    def _same_states_everywhere(self) -> Self:
        for key in ("points", "solver", "learn_grid"):
            if any(key in override for override in self.per_nfe.values()):
                raise ValueError(
                    f"{key} decides which states of the teacher are kept and cannot differ between budgets"
                )
        return self

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        self.settings()
        return self

    def settings(self) -> DistillSettings:
        """The settings of ``adasde.distillation``."""
        try:
            return DistillSettings(**self.model_dump(exclude={"per_nfe", "start"}))
        except (ParamsError, TypeError) as error:
            raise ValueError(str(error)) from error


def _schema_of(settings: type) -> dict[str, Any]:
    """Fields of a pydantic model from those of a dataclass, whose metadata are the arguments of ``Field``."""
    types, made = get_type_hints(settings), {}
    for item in fields(settings):
        default = item.default if item.default_factory is MISSING else item.default_factory()
        finite = {"allow_inf_nan": False} if types[item.name] is float else {}
        made[item.name] = (types[item.name], option(default, **{**item.metadata, **finite}))
    return made


if TYPE_CHECKING:

    class DistillParams(_Distill, DistillSettings):  # type: ignore[misc]
        """The settings of ``DistillSettings``, and the table that distillation begins with."""

else:
    DistillParams = create_model(
        "DistillParams", __base__=_Distill, __module__=__name__, **_schema_of(DistillSettings)
    )


class Baseline(PerNfe):
    """A baseline solver with its tuned schedule and AFS setting."""

    solver: SolverName
    afs: bool = False
    schedule: ScheduleName = "time_uniform"
    rho: Positive = 1.0
    options: dict[str, Any] = Field(default={})

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        try:
            make_solver(self.solver, self.options)
            for nfe in self.per_nfe:
                steps_for_nfe(self.solver, nfe, afs=self.per_nfe[nfe].get("afs", self.afs))
        except (SolverError, TypeError) as error:
            raise ValueError(str(error)) from error
        return self

    def steps(self, nfe: int) -> int | None:
        """Intervals that take ``nfe`` evaluations, or None if no number of intervals takes exactly that."""
        try:
            return steps_for_nfe(self.solver, nfe, afs=self.at(nfe).afs)
        except SolverError:
            return None


class SampleParams(Section):
    """Which images are sampled: ``ranges`` disjoint ranges of ``images`` consecutive seeds."""

    images: int = option(1000, "images in a range", ge=2)
    ranges: PositiveInt = option(3, "number of ranges")
    first_seed: Seed = option(1_000_000, "image k of a row has seed first_seed + k")
    batch: PositiveInt = option(1000, "images computed together")
    classes: Literal["balanced", "random"] = option(
        "balanced", "class of an image: its seed modulo their number, or random: drawn from it"
    )

    @property
    def count(self) -> int:
        """Number of all images of a row."""
        return self.images * self.ranges

    @property
    def seeds(self) -> range:
        """The seeds of all images, range after range."""
        return range(self.first_seed, self.first_seed + self.count)


class EvaluateParams(Section):
    """How images are evaluated."""

    kid_subsets: PositiveInt = option(10, "kernel inception distance: number of subsets")
    kid_subset_size: int = option(500, "images in each; at most sample.images", ge=2)
    neighbourhood: PositiveInt = option(3, "k of the nearest neighbours in precision and recall")
    floor_steps: int | None = option(
        50, "steps of the Heun sampler that shows the model's own FID; 0 or null: none", ge=0
    )
    reference: Text | None = option(
        None, "real images or their statistics (.npz), a path or address; null: the model's"
    )


class StorageParams(Section):
    """Where bytes are kept that machines share (see ``adasde.storage``)."""

    url: Annotated[str, AfterValidator(_address)] | None = option(
        None, "s3://bucket/prefix, or a folder; null: everything stays in the project"
    )


class PromotionParams(Section):
    """When a candidate becomes champion (see ``flows.registry.policy``)."""

    metric: MetricName = option("fid", "fid, kid, precision or recall")
    margin: float = option(0.02, "share by which it must beat the champion", ge=0, lt=1)
    spread: Weight = option(1.0, "and by so many combined standard deviations over the ranges")
    tolerance: dict[MetricName, Weight] = option(
        {"kid": 0.5, "precision": 0.05, "recall": 0.05},
        "share by which other metrics may be worse; one that is not named is ignored",
    )
