"""The flow ``promote``: which budgets it takes, and what Prefect shows of its decisions."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from homes import QuickHome
from prefect.testing.utilities import prefect_test_harness
from projects import ROOT
from tiny import tiny_values, write_params

from adasde.errors import AdaSDEError
from flows.registry import flow
from flows.registry.service import PromotionResult


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> QuickHome:
    home = QuickHome(tmp_path / "project", monkeypatch)
    write_params(home.root, tiny_values() | {"nfe": [3, 5]})
    (home.root / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.setattr(flow, "prepare", lambda project: None)
    return home


@pytest.fixture
def artifacts(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Key -> text of what the flow makes outside a run."""
    made: dict[str, str] = {}

    def create(text: str, *, key: str, description: str) -> None:
        made[key] = text

    monkeypatch.setattr(flow, "create_markdown_artifact", create)
    monkeypatch.setattr(flow, "get_run_logger", lambda: logging.getLogger("test"))
    return made


def run(home: QuickHome, **arguments: Any) -> list[PromotionResult]:
    return flow.promote.fn(project=str(home.root), **arguments)


def test_one_budget(home: QuickHome, artifacts: dict[str, str]) -> None:
    home.add("digits", 1.0)
    (outcome,) = run(home, model="digits", nfe=5, dry_run=True)
    assert outcome.dry_run and home.champion("digits") is None
    (outcome,) = run(home, model="digits", nfe=5)
    assert outcome.champion == home.champion("digits")
    text = artifacts["promotion-adasde-digits-nfe5"]
    assert text.startswith("**adasde-digits-nfe5: version 1 is champion now**")
    assert "- there is no champion yet" in text
    assert "store/registry/adasde-digits-nfe5/champion.json" in text


def test_every_budget_though_one_fails(home: QuickHome, artifacts: dict[str, str]) -> None:
    home.add("digits", 1.0)
    with pytest.raises(AdaSDEError, match="has no model adasde-digits-nfe3"):
        run(home)
    assert home.champion("digits") == "1"
    assert list(artifacts) == ["promotion-adasde-digits-nfe5"]


def test_all_failures_are_reported(home: QuickHome, artifacts: dict[str, str]) -> None:
    with pytest.raises(AdaSDEError, match=r"no model adasde-digits-nfe3 .* no model adasde-digits-nfe5 "):
        run(home)


def test_force_is_about_one_version(home: QuickHome, artifacts: dict[str, str]) -> None:
    home.add("digits", 1.0)
    with pytest.raises(AdaSDEError, match="say which nfe"):
        run(home, force=True, reason="all of them")
    with pytest.raises(AdaSDEError, match="reason"):
        run(home, nfe=5, force=True)
    assert home.champion("digits") is None


@pytest.mark.long
def test_prefect_shows_the_decision(home: QuickHome) -> None:
    from prefect.artifacts import Artifact

    home.add("digits", 1.0)
    with prefect_test_harness(server_startup_timeout=300):
        (outcome,) = flow.promote(model="digits", nfe=5, project=str(home.root))
        artifact = Artifact.get("promotion-adasde-digits-nfe5")
    assert outcome.changed
    assert artifact is not None and "version 1 is champion now" in str(artifact.data)


def test_prefect_yaml_knows_the_flow() -> None:
    document = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    (deployment,) = [one for one in document["deployments"] if one["name"] == "promote"]
    assert deployment["entrypoint"] == "flows.registry.flow.promote"
    assert set(deployment["parameters"]) <= set(flow.promote.parameters.properties)
