"""Two real runs of a tiny pipeline in one bucket: promoted, measured again by a new protocol, rolled back."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import pytest
from projects import ROOT, Project, make_project

from adasde.storage import open_store

pytestmark = pytest.mark.long

PROMOTE = ("promote", "digits", "--nfe", "3", "--json")


def answer(project: Project, *arguments: str) -> dict:
    return json.loads(project.adasde(*arguments).stdout)


def test_two_runs_two_champions_and_back(tmp_path_factory: pytest.TempPathFactory, bucket_url: str) -> None:
    project = make_project(tmp_path_factory.mktemp("end"), nfe=[3])
    project.params("storage", value={"url": f"{bucket_url}/of all"})
    shutil.copytree(ROOT / "adasde", project.root / "adasde", ignore=shutil.ignore_patterns("__pycache__"))
    first = project.run()
    outcome = answer(project, *PROMOTE)
    assert (outcome["changed"], outcome["champion"]) == (True, "1")

    project.params("distill", "trajectories", value=96)
    project.params("sample", "images", value=60)
    second = project.run()
    assert first["results"]["protocol_hash"] != second["results"]["protocol_hash"]
    outcome = answer(project, *PROMOTE, "--force", "--reason", "only a test")
    mean = second["results"]["rows"]["AdaSDE"]["3"]["fid"]["mean"]
    assert any(reason.startswith(f"fid {mean:.4g} ± ") for reason in outcome["reasons"])
    assert (outcome["changed"], outcome["champion"], outcome["before"]) == (True, "2", "1")

    pointer = outcome["pointer"]
    assert pointer == f"{bucket_url}/of all/registry/adasde-digits-nfe3/champion.json"
    sampled = project.adasde(
        "sample", "--nfe", "3", "--coefficients", pointer, "--out", "elsewhere", "--json"
    )
    assert json.loads(sampled.stdout)["made"] == 1
    assert answer(project, "rollback", "digits", "--nfe", "3", "--json")["champion"] == "1"
    (model,) = answer(project, "registry", "--json")["models"]
    assert [(one["version"], one["aliases"]) for one in model["versions"]] == [
        ("2", ["challenger"]),
        ("1", ["champion"]),
    ]
    assert [one["action"] for one in model["decisions"]] == ["promote", "promote", "rollback"]
    project.adasde("push")
    kept = Counter(entry.key.split("/")[0] for entry in open_store(f"{bucket_url}/of all").list())
    assert set(kept) == {"dvc", "mlflow", "registry"} and min(kept.values()) > 5, kept
    assert not (project.root / "store").exists() and not (project.root / "mlruns").exists()
    assert [path for path in project.home.rglob("*") if path.is_file()] == []
