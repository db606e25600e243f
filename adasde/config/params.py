"""The schema of ``params.yaml``, and its values at one number of network evaluations (NFE)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
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
    PromotionParams,
    SampleParams,
    StorageParams,
    TeacherParams,
)
from adasde.distillation.config import DistillSettings
from adasde.errors import ParamsError, SolverError
from adasde.sampling.solvers import steps_for_nfe
from adasde.utils.yaml_schema import PositiveInt, Section, Text, Weight, explain, option, read_yaml

STUDENT = "AdaSDE"
"""The label of the distilled sampler's row."""


def row_file(label: str) -> str:
    """File name of a row of samples: ``DPM-Solver++(2M) + AFS`` -> ``dpm-solverpp-2m-afs.safetensors``."""
    words = re.sub(r"[^a-z0-9]+", "-", label.lower().replace("++", "pp")).strip("-")
    return f"{words}.safetensors"


class Params(Section):
    """All of params.yaml."""

    model: Text = Field(description="a name of 'adasde models', diffusers:…, file:… (docs/models.md)")
    nfe: list[PositiveInt] = Field(min_length=1, description="budgets to distil for")
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

    def steps(self, nfe: int) -> int:
        """Intervals of the student that takes ``nfe`` evaluations.

        Raises:
            SolverError: no number of intervals does; names the nearest possible NFE.
        """
        return steps_for_nfe(self.distill.solver, nfe, afs=self.afs, points=self.distill.points)

    def at(self, nfe: int) -> Budget:
        """The values at ``nfe`` evaluations.

        Raises:
            SolverError: ``nfe`` is not reachable (see ``steps``).
        """
        steps = self.steps(nfe)
        sections = {name: getattr(self, name).at(nfe) for name in ("schedule", "teacher", "distill")}
        rows = {label: row.at(nfe) for label, row in self.baselines.items() if row.steps(nfe)}
        params = self.model_copy(update={"nfe": [nfe], "baselines": rows, **sections})
        return Budget(nfe, steps, params)


@dataclass(frozen=True)
class Budget:
    """All values at one number of network evaluations.

    Attributes:
        nfe: network evaluations per image.
        steps: intervals of the student.
        params: the params, with every ``per_nfe`` applied and the baselines that can take ``nfe``.
    """

    nfe: int
    steps: int
    params: Params

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
