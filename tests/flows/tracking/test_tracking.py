from __future__ import annotations

import json
import resource
import sqlite3
from contextlib import chdir, closing
from pathlib import Path

import pytest

from adasde.errors import AdaSDEError, DataError
from flows.tracking import client as mlflow_home
from flows.tracking import payload
from flows.tracking import runs as tracking

HASHES = {
    "fetch": {"data/checkpoint": "a.dir"},
    "distill@3": {"data/distill/nfe3/coefficients.json": "b"},
    "sample@3": {"data/samples/nfe3": "c.dir", "data/samples/nfe3.timing.json": "d"},
    "distill@5": {"data/distill/nfe5/coefficients.json": "e"},
    "report": {"report": "f.dir"},
}


def changed(stage: str, path: str) -> dict[str, dict[str, str]]:
    return HASHES | {stage: HASHES[stage] | {path: "other"}}


@pytest.mark.parametrize(
    ("stage", "path", "other_run"),
    [
        ("distill@3", "data/distill/nfe3/coefficients.json", True),
        ("fetch", "data/checkpoint", True),
        ("sample@3", "data/samples/nfe3.timing.json", False),
        ("distill@5", "data/distill/nfe5/coefficients.json", False),
        ("report", "report", False),
    ],
)
def test_what_makes_another_run(stage: str, path: str, other_run: bool) -> None:
    before, after = tracking.fingerprint(HASHES, 3), tracking.fingerprint(changed(stage, path), 3)
    assert (before != after) is other_run


def test_rows_of_metrics_become_flat_numbers() -> None:
    row = {"fid": {"mean": 0.5, "spread": 0.1, "values": [0.4, 0.6]}, "kid": 0.25, "nfe": 5, "note": "x"}
    assert payload.numbers(row) == {"fid": 0.5, "fid_spread": 0.1, "kid": 0.25, "nfe": 5}
    assert payload.numbers({"fid": {"mean": 0.5, "spread": None, "values": [0.5]}}) == {"fid": 0.5}


def test_labels_become_parts_of_metric_names() -> None:
    labels = ["DDIM (Euler)", "DDIM (Euler) + AFS", "DPM-Solver++(2M)", "DPM-Solver-2 + AFS"]
    assert [payload.slug(label) for label in labels] == [
        "DDIM-Euler",
        "DDIM-Euler-AFS",
        "DPM-Solverpp-2M",
        "DPM-Solver-2-AFS",
    ]


def test_params_become_flat() -> None:
    values = {"seed": 0, "distill": {"lr": 0.1, "per_nfe": {}}, "schedule": {"name": "x"}}
    assert dict(payload.flatten(values)) == {"seed": 0, "distill.lr": 0.1, "schedule.name": "x"}


@pytest.mark.parametrize("text", [None, "{"])
def test_damaged_outputs_are_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "nfe3.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=r"nfe3\.json cannot be read.*run the pipeline again"):
        payload.read_json(path)
    path.write_text(json.dumps({"a": 1}))
    assert payload.read_json(path) == {"a": 1}


def test_files_stay_in_the_project_unless_a_server_has_them(tmp_path: Path) -> None:
    assert mlflow_home.artifact_root(tmp_path, "sqlite:////x/mlflow.db") == f"file://{tmp_path}/mlruns"
    assert mlflow_home.artifact_root(tmp_path, "http://127.0.0.1:5000") is None
    (tmp_path / "params.yaml").write_text("storage: {url: s3://bucket}\n")
    assert mlflow_home.artifact_root(tmp_path, "sqlite:////x/mlflow.db") == "s3://bucket/mlflow"


@pytest.mark.parametrize(
    ("new", "run"),
    [("file:///b/mlruns", "file:///b/mlruns/1/artifacts"), ("s3://bucket", "file:///a/mlruns/1/artifacts")],
    ids=["moved", "another storage"],
)
def test_places_follow_the_project_but_not_another_storage(tmp_path: Path, new: str, run: str) -> None:
    database = tmp_path / "mlflow.db"
    old = "file:///a/mlruns"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE experiments (artifact_location)")
        connection.execute("CREATE TABLE runs (artifact_uri)")
        connection.executemany("INSERT INTO experiments VALUES (?)", [(old,), (f"{old}2",)])
        connection.executemany("INSERT INTO runs VALUES (?)", [(f"{old}/1/artifacts",), ("s3://b/x",)])
    mlflow_home.relocate(database, old, new)
    with closing(sqlite3.connect(database)) as connection:
        experiments = connection.execute("SELECT artifact_location FROM experiments").fetchall()
        runs = connection.execute("SELECT artifact_uri FROM runs").fetchall()
    assert experiments == [(new,), (f"{old}2",)]
    assert runs == [(run,), ("s3://b/x",)]


def test_a_server_that_is_not_there_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with (
        pytest.raises(
            AdaSDEError, match=r"MLflow at http://127\.0\.0\.1:9 failed: .*stages are done and kept"
        ),
        mlflow_home.open_client("http://127.0.0.1:9") as client,
    ):
        client.get_experiment_by_name("x")


def test_a_damaged_database_is_explained(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, but it is long enough to be read as one" * 20)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with (
        chdir(tmp_path),
        pytest.raises(AdaSDEError, match=r"(?s)mlflow\.db failed: .*run the same again"),
        mlflow_home.open_client(uri) as client,
    ):
        client.get_experiment_by_name("x")


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (
            4096,
            r"MLflow at sqlite:.*mlflow\.db failed: disk I/O error\. The stages are done and kept.*space on",
        ),
        (
            4 << 20,
            r"cannot keep the files of runs: File too large.*free some space, then run the same command",
        ),
    ],
    ids=["database", "files"],
)
def test_a_full_disk_is_explained(limit: int, words: str, tmp_path: Path) -> None:
    uri, before = f"sqlite:///{tmp_path}/mlflow.db", resource.getrlimit(resource.RLIMIT_FSIZE)
    (tmp_path / "big").write_bytes(bytes(8 << 20))
    with mlflow_home.open_client(uri) as client:
        experiment = client.create_experiment("x", artifact_location=(tmp_path / "mlruns").as_uri())
        run = client.create_run(experiment).info.run_id
    try:
        with pytest.raises(AdaSDEError, match=words) as caught, mlflow_home.open_client(uri) as client:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
            if limit > 4096:
                client.log_artifact(run, str(tmp_path / "big"))
            client.log_param(run, "a", "b")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "INSERT" not in str(caught.value)
    with mlflow_home.open_client(uri) as client:
        client.log_artifact(run, str(tmp_path / "big"))
