"""The schema of ``params.yaml``, and its values at one number of network evaluations (NFE)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, product
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from torch import Tensor

from adasde.config.baselines import named
from adasde.config.sections import (
    Baseline,
    DistillParams,
    EvaluateParams,
    Grid,
    Judge,
    NetworkParams,
    PerNfe,
    PromotionParams,
    SampleParams,
    StorageParams,
    TeacherParams,
)
from adasde.config.students import OwnRecipe, StudentName, label_of, layers_of, resolve
from adasde.distillation.config import DistillSettings
from adasde.distillation.recipes import CUSTOM, RECIPES
from adasde.errors import ParamsError, SolverError
from adasde.sampling.schedules import unknown
from adasde.sampling.solvers import steps_for_nfe
from adasde.utils.yaml_schema import PositiveInt, Section, Text, Weight, explain, option, read_yaml


def row_file(label: str) -> str:
    """File name of a row of samples: ``DPM-Solver++(2M) + AFS`` -> ``dpm-solverpp-2m-afs.safetensors``."""
    words = re.sub(r"[^a-z0-9]+", "-", label.lower().replace("++", "pp")).strip("-")
    return f"{words}.safetensors"


class Params(Section):
    """All of params.yaml."""

    model: Text = Field(description="a name of 'adasde models', diffusers:…, file:… (docs/models.md)")
    nfe: list[PositiveInt] = Field(min_length=1, description="budgets to distil for")
    students: list[StudentName] = Field(
        [CUSTOM], min_length=1, description="recipes to distil: packaged ones, or keys of recipes"
    )
    recipes: dict[StudentName, OwnRecipe] = option({}, "own recipes, as changes to a packaged one")
    features: Text | None = option(
        None, "feature extractor of the metrics, a name or a checkpoint; null: the model's own"
    )
    prompts: Text | None = option(None, "file of prompts for a text-to-image model; null: those of its card")
    judges: list[Judge] = option(
        [], "metrics beside FID: clip-vit-large-patch14 (for prompts), dinov2-vitl14"
    )
    seed: int = option(0, "of the training: latents and the order of batches", ge=0, lt=2**31)
    guidance: Weight = option(1.0, "classifier-free guidance; not 1: two evaluations each")
    afs: bool = option(True, "analytic first step: AdaSDE's first direction without an evaluation")
    network: NetworkParams = NetworkParams()
    schedule: Grid = Grid()
    teacher: TeacherParams = TeacherParams()
    distill: DistillParams = DistillParams()
    sample: SampleParams = SampleParams()
    evaluate: EvaluateParams = EvaluateParams()
    baselines: Annotated[dict[str, Baseline], BeforeValidator(named)] = Field(default={})
    promotion: PromotionParams = PromotionParams()
    storage: StorageParams = StorageParams()

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if len(set(self.nfe)) < len(self.nfe):
            raise ValueError(f"nfe names a number twice: {self.nfe}")
        for key in ("judges", "students"):
            names = getattr(self, key)
            if len(set(names)) < len(names):
                raise ValueError(f"{key} names one twice: {', '.join(names)}")
        if taken := [name for name, own in self.recipes.items() if name in RECIPES and own.recipe != name]:
            raise ValueError(
                f"recipes.{taken[0]} has the name of a packaged recipe: change it (recipe: {taken[0]}), "
                "or choose another name"
            )
        if len(self.students) > 1 and not self.sample.validation:
            raise ValueError(
                "several students need sample.validation, images of other seeds by which the challenger is "
                "chosen: set it to 1000"
            )
        for name in self.students:
            if name not in RECIPES and name not in self.recipes:
                raise ValueError(f"students: {unknown('recipe', name, {**RECIPES, **self.recipes})}")
        return self

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        files = [row_file(label) for label in self.baselines]
        if len(set(files)) < len(files) or any(file.startswith("adasde") for file in files):
            labels = ", ".join(self.baselines)
            raise ValueError(f"two rows of baselines are too alike, or called AdaSDE: {labels}")
        return self

    @model_validator(mode="after")
    def _check_students(self) -> Self:
        further = set(chain.from_iterable(section.per_nfe for section in self._taught.values()))
        for student, nfe in product(self.students, [*self.nfe, *sorted(further.difference(self.nfe))]):
            try:
                budget = self.at(nfe, student)
                _ = budget.settings
                budget.params._check_seeds()
            except SolverError as error:
                raise ValueError(f"student {student}: {error}") from error
            except ParamsError as error:
                named = str(error).startswith("student ")
                raise ValueError(
                    f"{'' if named else f'student {student} at {nfe} evaluations: '}{error}"
                ) from error
        for student in self.students:
            self._check_states(student)
        self._check_labels()
        return self

    def _check_labels(self) -> None:
        """Refuse students whose rows would have one label."""
        solvers = {name: self.at(self.nfe[0], name).params.distill.solver for name in self.students}
        labels = [label_of(solver, name) for name, solver in solvers.items()]
        if twice := [label for label in labels if labels.count(label) > 1]:
            raise ValueError(
                f"two students would be called {twice[0]!r}: give one a name of its own in recipes"
            )

    def _check_states(self, student: str) -> None:
        """Refuse a recipe whose solver differs between budgets."""
        solvers = sorted({self.at(nfe, student).params.distill.solver for nfe in self.nfe})
        if len(solvers) > 1:
            raise ValueError(f"student {student} has other solvers at other budgets: {', '.join(solvers)}")

    def _check_seeds(self) -> None:
        training = self.training_seeds
        for what, seeds in (("samples'", self.sample.seeds), ("validation", self.sample.validation_seeds)):
            if training.start < seeds.stop and seeds.start < training.stop and len(seeds):
                raise ParamsError(
                    f"the {what} seeds {seeds.start} to {seeds.stop - 1} overlap the "
                    f"teacher's, {training.start} to {training.stop - 1}; move sample.first_seed"
                )

    @model_validator(mode="after")
    def _check_images(self) -> Self:
        settings, sample = self.evaluate, self.sample
        needed = max(settings.kid_subset_size, settings.neighbourhood + 1)
        for key, images in (("images", sample.images), ("validation", sample.validation)):
            if needed > images and (key == "images" or images):
                raise ValueError(
                    f"sample.{key} = {images} is too few for evaluate.kid_subset_size = "
                    f"{settings.kid_subset_size} and evaluate.neighbourhood = {settings.neighbourhood}; "
                    f"it must be at least {needed}"
                )
        return self

    @property
    def _taught(self) -> dict[str, PerNfe]:
        """The sections that recipes set."""
        return {"schedule": self.schedule, "teacher": self.teacher, "distill": self.distill}

    @property
    def model_name(self) -> str:
        """Short name of the model: ``my-digits`` for ``s3://bucket/models/my-digits``.

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

    @property
    def only_student(self) -> str:
        """The student, where there is one (ParamsError: there are several)."""
        if len(self.students) > 1:
            names = ", ".join(self.students)
            raise ParamsError(f"params.yaml has several students ({names}): say which with --student.")
        return self.students[0]

    def steps(self, nfe: int, student: str | None = None) -> int:
        """Intervals of the student that takes ``nfe`` evaluations.

        Raises:
            SolverError: no number of intervals does; names the nearest possible NFE.
            ParamsError: there is no such student, or there are several and none is named.
        """
        return self.at(nfe, student).steps

    def at(self, nfe: int, student: str | None = None) -> Budget:
        """The values of ``student`` (None: the only one) at ``nfe`` evaluations.

        A value is the default, that of the packaged recipe, of ``recipes``, or the one that is written in
        the section itself, which holds for all students; the last of them that there is.

        Raises:
            SolverError: ``nfe`` is not reachable.
            ParamsError: there is no such student, or there are several and none is named.
        """
        name = self.only_student if student is None else student
        if name not in self.students:
            raise ParamsError(f"params.yaml: {unknown('student', name, self.students)}")
        sections = resolve(self._taught, list(layers_of(name, self.recipes, nfe)), nfe, student=name)
        distill = sections["distill"]
        steps = steps_for_nfe(distill.solver, nfe, afs=self.afs, points=distill.points)
        rows = self.rows(nfe)
        params = self.model_copy(update={"nfe": [nfe], "students": [name], "baselines": rows, **sections})
        return Budget(nfe, steps, params, name)

    def rows(self, nfe: int) -> dict[str, Baseline]:
        """The baselines that can take ``nfe`` evaluations, with their values there."""
        return {label: row.at(nfe) for label, row in self.baselines.items() if row.steps(nfe)}


@dataclass(frozen=True)
class Budget:
    """All values of one student at one number of network evaluations.

    Attributes:
        nfe: network evaluations per image.
        steps: intervals of the student.
        params: the params, with the recipe and every ``per_nfe`` applied, and the baselines that can take
            ``nfe``.
        student: its name in ``students``.
    """

    nfe: int
    steps: int
    params: Params
    student: str = CUSTOM

    @property
    def recipe(self) -> str:
        """The packaged recipe that the student has, or changes."""
        own = self.params.recipes.get(self.student)
        return own.recipe if own else self.student

    @cached_property
    def sigmas(self) -> Tensor:
        """Noise levels [steps + 1] of the student, float64."""
        return self.params.schedule.sigmas(self.steps)

    @cached_property
    def settings(self) -> DistillSettings:
        """Settings of the distillation."""
        return self.params.distill.settings()


def load_params(path: str | os.PathLike[str] = "params.yaml") -> Params:
    """Read and check params.yaml.

    Raises:
        ParamsError: the file is missing, not YAML, or invalid; the message names the file, and for each
            key its value, what is allowed, and the nearest valid name.
    """
    return check_params(read_yaml(path), source=str(path))


def check_params(values: Any, *, source: str = "params") -> Params:
    """Params from a mapping; ``source`` is its name in messages (ParamsError)."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise ParamsError(explain(error, Params, source=source)) from error
