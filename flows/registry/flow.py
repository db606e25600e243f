"""The flow ``promote``: one budget, or every budget of params.yaml; each decision becomes an artifact."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from adasde.config.params import load_params
from adasde.errors import AdaSDEError
from flows.dvc.prepare import prepare
from flows.registry import service
from flows.registry.service import PromotionResult
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
) -> list[PromotionResult]:
    """Make the challenger (or ``candidate``) champion if it wins by the policy of params.yaml.

    Without ``nfe``: all budgets of params.yaml, one after the other; a failure does not stop the rest.

    Raises:
        AdaSDEError: a promotion failed, or it was forced without a reason.
    """
    explain_failures()
    folder = environment.find_project(Path(project))
    prepare(folder)
    params = load_params(folder / "params.yaml")
    if (force or candidate is not None) and nfe is None:
        raise AdaSDEError("force and candidate concern one version: say which nfe they are meant for.")
    if force and not reason.strip():
        raise AdaSDEError("force needs a reason, which is recorded.")
    decide = partial(service.promote, folder, model or params.model_name)
    decide = partial(decide, version=candidate, dry_run=dry_run, force=force, reason=reason)
    results, failures = [], []
    for budget in params.nfe if nfe is None else [nfe]:
        try:
            result = decide(budget)
        except AdaSDEError as error:
            failures.append(error)
        else:
            _show(result)
            results.append(result)
    if len(failures) > 1:
        raise AdaSDEError(" ".join(str(error) for error in failures)) from failures[0]
    if failures:
        raise failures[0]
    return results


def _show(result: PromotionResult) -> None:
    """Log a result, and make it an artifact."""
    for line in result.lines():
        get_run_logger().info("%s", line)
    key = "promotion-" + re.sub(r"[^a-z0-9]+", "-", result.name.lower())
    create_markdown_artifact(result.markdown(), key=key, description=result.headline)
