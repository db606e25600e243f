"""The flow ``promote``: one model, or every budget of params.yaml; each decision is an artifact."""

from __future__ import annotations

import re
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from adasde.config.params import load_params
from adasde.errors import AdaSDEError
from flows.dvc.prepare import prepare
from flows.registry import service
from flows.registry.outcome import Outcome
from flows.registry.service import Asked
from flows.system import environment
from flows.system.logging import explain_failures


@flow(name="adasde-promote")
def promote(
    model: str | None = None,
    nfe: int | None = None,
    candidate: int | None = None,
    dry_run: bool = False,
    force: bool = False,
    reason: str = "",
    project: str = ".",
) -> list[Outcome]:
    """Make the challenger (or ``candidate``) champion if it wins by the policy of params.yaml.

    Without ``nfe`` all budgets of params.yaml, one after the other; one that fails does not stop the others.

    Raises:
        AdaSDEError: a promotion failed, or it was forced without a reason.
    """
    explain_failures()
    folder = environment.find_project(Path(project))
    prepare(folder)
    params = load_params(folder / "params.yaml")
    if (force or candidate is not None) and nfe is None:
        raise AdaSDEError("force and candidate are about one version: say which nfe they are meant for.")
    if force and not reason.strip():
        raise AdaSDEError("force needs a reason, which is recorded.")
    asked = Asked(candidate, dry_run=dry_run, force=force, reason=reason)
    outcomes, failures = [], []
    for budget in params.nfe if nfe is None else [nfe]:
        try:
            outcomes.append(_promote_one(folder, model or params.model_name, budget, asked))
        except AdaSDEError as error:
            failures.append(error)
    if len(failures) > 1:
        raise AdaSDEError(" ".join(str(error) for error in failures)) from failures[0]
    if failures:
        raise failures[0]
    return outcomes


def _promote_one(project: Path, model: str, nfe: int, asked: Asked) -> Outcome:
    outcome = service.promote(project, model, nfe, asked)
    for line in outcome.lines():
        get_run_logger().info("%s", line)
    key = "promotion-" + re.sub(r"[^a-z0-9]+", "-", outcome.name.lower())
    create_markdown_artifact(outcome.markdown(), key=key, description=outcome.headline)
    return outcome
