"""What `adasde registry` says: versions, aliases, numbers, decisions and what it has put right."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from homes import MODEL, QuickHome, promoted, rolled_back
from rich.console import Console

from flows.registry import show
from flows.registry.show import decisions, list_models, tables
from flows.system.locks import project_lock


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> QuickHome:
    home = QuickHome(tmp_path / "project", monkeypatch)
    monkeypatch.setattr(show, "open_registry", home.open_registry)
    return home


@pytest.fixture
def busy(home: QuickHome) -> QuickHome:
    """Four decisions: promoted, promoted by force, not promoted, rolled back."""
    home.add(MODEL, 1.0)
    promoted(home)
    home.add(MODEL, 2.0)
    promoted(home, force=True, reason="a trial")
    home.add(MODEL, 3.0)
    promoted(home)
    rolled_back(home, "the trial is over")
    return home


def printed(models: list[dict[str, Any]], *, width: int = 200) -> str:
    out = io.StringIO()
    for table in tables(models):
        Console(file=out, width=width).print(table)
    return out.getvalue()


def test_everything_that_is_known(busy: QuickHome) -> None:
    (model,) = list_models(busy.root)
    assert (model["name"], model["champion"], model["notes"]) == ("adasde-digits-nfe5", "1", [])
    assert [(one["version"], one["aliases"], one["fid"]) for one in model["versions"]] == [
        ("3", ["challenger"], 3.0),
        ("2", [], 2.0),
        ("1", ["champion"], 1.0),
    ]
    shown = [(one["action"], one["version"], one["state"], one["forced"]) for one in model["decisions"]]
    assert shown == [
        ("promote", "1", "done", False),
        ("promote", "2", "done", True),
        ("promote", "3", "kept", False),
        ("rollback", "1", "done", None),
    ]
    assert model["decisions"][1]["reasons"][0] == "forced: a trial"
    assert model["decisions"][3]["reasons"] == ["the trial is over"]


def test_the_tables(busy: QuickHome) -> None:
    text = printed(list_models(busy.root))
    for words in (
        "1.000 ± 0.001",
        "champion",
        "promoted by force",
        "not promoted",
        "rolled back to",
        "forced: a trial",
        "the trial is over",
        "@",
    ):
        assert words in text, words


def test_on_a_narrow_terminal_nothing_is_cut_short(busy: QuickHome) -> None:
    models = list_models(busy.root)
    text = printed(models, width=80)
    assert text.count("adasde-digits-nfe5") == 3 + 4
    assert text.count(models[0]["decisions"][0]["at"][:10]) == 4
    assert "…" not in text


def test_only_what_was_asked_for(busy: QuickHome) -> None:
    busy.add("other", 1.0)
    assert [model["name"] for model in list_models(busy.root)] == ["adasde-digits-nfe5", "adasde-other-nfe5"]
    assert [model["name"] for model in list_models(busy.root, "other")] == ["adasde-other-nfe5"]
    assert list_models(busy.root, "other", 7) == []
    assert list_models(busy.root, nfe=7) == []
    (other,) = list_models(busy.root, "other", 5)
    assert (other["champion"], other["decisions"]) == (None, [])
    assert "Decisions" not in printed([other])


def test_an_alias_is_put_right_unless_a_promotion_is_under_way(busy: QuickHome) -> None:
    busy.client.set_registered_model_alias("adasde-digits-nfe5", "champion", "3")
    with project_lock(busy.root, "promotion"):
        (model,) = list_models(busy.root)
    assert "under way" in model["notes"][0]
    assert busy.alias(MODEL) == "3"
    (model,) = list_models(busy.root)
    assert model["notes"] == ["the alias champion in MLflow was at version 3; it is at version 1 now"]
    assert busy.alias(MODEL) == "1"


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ([], "promote interrupted"),
        (["withdrawn"], "promote withdrawn"),
        (["abandoned"], "promote abandoned"),
        (["done", "done"], "promoted"),
    ],
)
def test_how_a_decision_ended(end: list[str], words: str) -> None:
    entries = [{"decision": "a", "state": "intended", "action": "promote", "forced": False, "at": "2026"}]
    (one,) = decisions(entries + [{"decision": "a", "state": state} for state in end])
    assert show.outcome(one) == words


def test_a_damaged_entry_is_shown_as_what_is_known_of_it(busy: QuickHome) -> None:
    path = next((busy.root / "store/registry/adasde-digits-nfe5/audit").glob("*-kept.json"))
    path.write_text("altered")
    (model,) = list_models(busy.root)
    assert [one["version"] for one in model["decisions"]] == ["1", "2", None, "1"]
    assert "not promoted" in printed([model])
