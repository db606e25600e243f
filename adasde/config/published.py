"""Published FIDs of the rows of a params.yaml that are the paper's."""

from __future__ import annotations

from adasde.config.baselines import AFS, PAPER_BASELINES
from adasde.config.params import Budget, Params
from adasde.config.sections import Baseline
from adasde.config.students import label_of
from adasde.distillation.config import NODE_BY_NODE
from adasde.models.hub.cards import catalogue
from adasde.sampling.coefficients import OWN

ADASDE = "AdaSDE"
"""The paper's own row, as model cards call it."""

WITHOUT_NOISE = "AdaSDE, gamma = 0"
"""The paper's ablation, as model cards call it."""


def published_fid(params: Params) -> dict[str, dict[int, float]]:
    """Label -> NFE -> FID of 50 000 images in the paper's table, from the model's card.

    Only baselines that are the paper's (``PAPER_BASELINES``), and the student where it is trained like the
    paper's: AdaSDE's own step, node by node.
    """
    card = catalogue().get(params.model)
    if card is None or not card.published:
        return {}
    found: dict[str, dict[int, float]] = {}
    for nfe in params.nfe:
        rows = params.rows(nfe)
        names = {label: label.removesuffix(AFS) for label in rows if _papers(label, rows[label])}
        for budget in (params.at(nfe, student) for student in params.students):
            if (name := student_row(budget)) is not None:
                names[label_of(budget.settings.solver, budget.student)] = name
        for label, name in names.items():
            if (fid := card.published.get(name, {}).get(nfe)) is not None:
                found.setdefault(label, {})[nfe] = fid
    return found


def student_row(budget: Budget) -> str | None:
    """The row of the paper's table that the student of ``budget`` repeats, if any."""
    settings = budget.settings
    if (settings.solver, settings.points, settings.loop) != (OWN, 1, NODE_BY_NODE):
        return None
    return ADASDE if settings.gamma_max > 0 else WITHOUT_NOISE


def _papers(label: str, row: Baseline) -> bool:
    values = PAPER_BASELINES.get(label)
    return values is not None and row == Baseline.model_validate(values)
