"""What a sweep will do: its trials, what they share, and the number by which it is found again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from adasde.config.params import check_params, load_params
from adasde.stages.plan import values_of
from adasde.utils.atomic_io import sha256_file, sha256_json
from adasde.utils.yaml_schema import read_yaml
from flows.dvc import graph
from flows.dvc.graph import Stage
from flows.sweep.grid import Settings, Trial, key_of, make_trials, require_effect, touched
from flows.sweep.workspace import Workspace
from flows.tracking.payload import NOT_COMPARED

FOLDER = Path(".cache", "sweeps")


@dataclass(frozen=True)
class Plan:
    """A checked sweep.

    Attributes:
        settings: dotted key of params.yaml -> the values to try.
        base: the mapping of the project's params.yaml.
        stages: the project's own, by name.
    """

    project: Path
    settings: Settings
    base: Mapping[str, Any]
    trials: tuple[Trial, ...]
    stages: Mapping[str, Stage]

    @cached_property
    def id(self) -> str:
        """The same for the same trials, params and code: twelve hexadecimal digits."""
        trials = sorted(sha256_json(_resolved(trial)) for trial in self.trials)
        names = sorted(trial.name for trial in self.trials)
        return sha256_json([names, trials, _code(self.project, self.stages.values())])[:12]

    @property
    def folder(self) -> Path:
        """Where the workspaces are."""
        return self.project / FOLDER / self.id

    @property
    def title(self) -> str:
        """What varies: ``distill.lr × nfe``."""
        return " × ".join(self.settings)

    @property
    def budgets(self) -> list[int]:
        """Every NFE of some trial."""
        return sorted({nfe for trial in self.trials for nfe in trial.params.nfe})

    def shared(self) -> set[str]:
        """Stages of the project that all trials with that budget have in common."""
        changed = self.touched(self.stages)
        return {name for name in self.stages if name not in changed and self._wanted(name)}

    def touched(self, stages: Mapping[str, Stage]) -> set[str]:
        """Those of ``stages`` that some trial has other values for."""
        return touched(stages, map(key_of, self.settings), self._planned())

    def _planned(self) -> set[str]:
        """Stages of students whose values in ``plan`` differ between the project and a trial."""
        shared = check_params(self.shared_values())
        found = set()
        for trial, nfe in product(self.trials, self.budgets):
            for student in shared.students:
                here = trial.params if nfe in trial.params.nfe and student in trial.params.students else None
                before, after = (values_of(one.at(nfe, student)) if one else {} for one in (shared, here))
                for stage, kind in (("teacher", ".teacher"), ("distill", "")):
                    if after and before[kind] != after[kind]:
                        found.add(f"{stage}@{student}-{nfe}")
        return found

    def missing(self) -> list[int]:
        """Budgets of trials that the project's own params.yaml does not have."""
        there = check_params(self.base).nfe
        return [nfe for nfe in self.budgets if nfe not in there]

    def shared_values(self) -> dict[str, Any]:
        """The params.yaml of a workspace for what trials share beyond the project's budgets."""
        return {**self.base, "nfe": self.budgets}

    def workspace(self, name: str) -> Workspace:
        """The folder of a trial, or of what trials share."""
        outs = tuple(out for stage in self.stages.values() for out in stage.outs)
        return Workspace(self.project, self.folder / name, outs)

    def _wanted(self, stage: str) -> bool:
        student, _, budget = stage.partition("@")[2].rpartition("-")
        named = any(student in trial.params.students for trial in self.trials) or not student
        return not budget or (named and int(budget) in self.budgets)


def make_plan(project: Path, settings: Settings) -> Plan:
    """Check everything that can be checked before anything runs.

    Raises:
        ParamsError: params.yaml or a trial is wrong; names the trial and the key.
        AdaSDEError: dvc.yaml cannot be read.
    """
    path = project / "params.yaml"
    load_params(path)
    graph.require_params(project)
    base = read_yaml(path)
    trials = tuple(make_trials(base, settings))
    stages = graph.read_stages(project)
    require_effect(stages, settings)
    return Plan(project, dict(settings), base, trials, stages)


def _resolved(trial: Trial) -> list[Any]:
    """All values of a trial that a stage depends on: those of its recipes, whether written or packaged."""
    parts = NOT_COMPARED - {"baselines", "nfe"}
    return [
        [student, trial.params.at(nfe, student).params.model_dump(exclude=parts, mode="json")]
        for student in trial.params.students
        for nfe in trial.params.nfe
    ]


def _code(project: Path, stages: Iterable[Stage]) -> list[list[str]]:
    """Path and SHA-256 of dvc.yaml and of every file that a stage depends on and none writes."""
    paths = {"dvc.yaml", *(path for stage in stages for path in stage.files)}
    files = {file for path in paths for file in _below(project / path)}
    return [[str(file.relative_to(project)), sha256_file(file)] for file in sorted(files)]


def _below(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    return [file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
