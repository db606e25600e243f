from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from adasde.errors import AdaSDEError
from flows.cli import common, main


@dataclass(frozen=True)
class Tracked:
    model: str
    version: str
    new: bool
    student: str = "paper"


class Summary:
    tracked = (Tracked("adasde-digits-nfe3", "4", True), Tracked("adasde-digits-nfe5", "2", False))

    def count(self, outcome: str) -> int:
        return {"ran": 5, "unchanged": 6}[outcome]


def test_the_end_says_what_was_done_and_where_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path.cwd()}/mlflow.db")
    first, report, mlflow, prefect, registered = main.closing_lines(Summary(), seconds=12.3)  # type: ignore[arg-type]
    assert first == "5 stages ran, 6 were unchanged; 1 new MLflow runs; 12 s"
    assert "report/index.html" in report
    assert mlflow.endswith("mlflow ui --backend-store-uri sqlite:///mlflow.db")
    assert prefect.endswith("prefect server start")
    assert "adasde-digits-nfe3 (version 4, paper)" in registered
    assert "models:/adasde-digits-nfe3@challenger" in registered


def test_a_tracking_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert main.closing_lines(Summary(), seconds=1.0)[2].endswith("http://tracking:5000")  # type: ignore[arg-type]


def test_a_plain_installation_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "find_spec", lambda name: None if name == "mlflow" else object())
    with pytest.raises(AdaSDEError, match=r"needs mlflow.*pip install 'adasde\[pipeline\]'"):
        common.require_pipeline()
