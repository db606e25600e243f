"""Students: the recipes that a project distils, their values at one budget, and their names in tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, StringConstraints, ValidationError, model_validator

from adasde.config.sections import DistillParams, Grid, PerNfe, TeacherParams
from adasde.distillation.recipes import CUSTOM, RECIPES, Sections
from adasde.errors import ParamsError
from adasde.sampling.coefficients import MULTISTEP, OWN, Coefficients
from adasde.sampling.schedules import unknown
from adasde.utils.yaml_schema import PositiveInt, Section, explain, option

BASELINES = "baselines"
"""Folder of the baselines among those of the students."""

OF_ALL = ("sigma_min", "sigma_max")
"""Keys of ``schedule`` that baselines and the many-step sampler share with every student."""


def _usable(name: str) -> str:
    if name == BASELINES:
        raise ValueError(f"{BASELINES} is the folder of the baselines; choose another name")
    return name


def _packaged(name: str) -> str:
    if name not in RECIPES:
        raise ValueError(unknown("recipe", name, RECIPES))
    return name


StudentName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=60), AfterValidator(_usable)
]


class RecipeSections(Section):
    """Changes to the sections of a recipe: the keys that are written count."""

    schedule: Grid = Grid()
    teacher: TeacherParams = TeacherParams()
    distill: DistillParams = DistillParams()

    def layers(self, nfe: int) -> Iterator[Sections]:
        """Written values, then those of the sections' own ``per_nfe``."""
        sections = {name: getattr(self, name) for name in RecipeSections.model_fields}
        yield {name: section.written() for name, section in sections.items()}
        yield {name: section.per_nfe.get(nfe, {}) for name, section in sections.items()}

    @model_validator(mode="after")
    def _leave_the_ends(self) -> Self:
        if twice := [key for key in OF_ALL if key in self.schedule.model_fields_set]:
            raise ValueError(f"{' and '.join(twice)} hold for all students: set them in the section schedule")
        return self


class OwnRecipe(RecipeSections):
    """A recipe of params.yaml, as changes to a packaged one."""

    recipe: Annotated[str, AfterValidator(_packaged)]
    per_nfe: dict[PositiveInt, RecipeSections] = option({}, "further changes at some budgets")


def layers_of(name: str, own: Mapping[str, OwnRecipe], nfe: int) -> Iterator[Sections]:
    """Values of the recipe ``name`` at ``nfe`` evaluations; a later layer overrides an earlier one."""
    mine = own.get(name)
    yield RECIPES[mine.recipe if mine else name].at(nfe)
    if mine:
        yield from mine.layers(nfe)
        if nfe in mine.per_nfe:
            yield from mine.per_nfe[nfe].layers(nfe)


def resolve(
    sections: Mapping[str, PerNfe], layers: Sequence[Sections], nfe: int, *, student: str
) -> dict[str, Any]:
    """``sections`` with the values of ``layers`` below those that are written in them.

    Raises:
        ParamsError: a value is out of its range; names the student, the budget and the key.
    """
    made = {}
    for name, section in sections.items():
        values: dict[str, Any] = {}
        for layer in (*layers, {name: section.written()}, {name: section.per_nfe.get(nfe, {})}):
            values |= layer.get(name, {})
        try:
            made[name] = type(section).model_validate(values)
        except ValidationError as error:
            where = f"student {student} at {nfe} evaluations, {name}"
            raise ParamsError(explain(error, type(section), source=where)) from error
    return made


def label_of(solver: str, student: str) -> str:
    """Label of a student's row: ``AdaSDE (paper)``, ``AdaSDE multistep``; its form, then its recipe."""
    form = {OWN: "AdaSDE", MULTISTEP: "AdaSDE multistep"}.get(solver, f"AdaSDE on {solver}")
    if student in ("", CUSTOM) or (student == "multistep" and solver == MULTISTEP):
        return form
    return f"{form} ({'retrained' if student == 'single-step' else student})"


def facts_of(table: Coefficients) -> dict[str, Any]:
    """Description of a student from its table alone, as a JSON value.

    ``gamma``: its largest noise injection, 0 for a deterministic student; ``real_images``: whether its loss
    compared with real images, None where the table does not say.
    """
    about = table.provenance
    student = str(about.get("student", CUSTOM))
    weight = about.get("params", {}).get("distill", {}).get("energy_weight")
    return {
        "label": label_of(table.solver, student),
        "name": student,
        "solver": table.solver,
        "afs": table.afs,
        "gamma": float(table.gamma.max()),
        "real_images": None if weight is None else weight > 0,
    }
