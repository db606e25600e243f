"""A project whose storage is a bucket of a real S3 server: MLflow's files, and DVC's bytes to and fro."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from command import files_end_after, tree
from projects import Project
from s3_server import S3Server
from tcp_proxy import own_authority, proxy_to
from waiting import eventually

from adasde.errors import StoreError
from adasde.storage import local_copy, open_store

pytestmark = pytest.mark.integration

LARGE = 4 << 20
"""Bytes of one of the outputs."""


@pytest.fixture(scope="module")
def project(make_toy: Callable[[], Project]) -> Project:
    return make_toy()


@pytest.fixture
def finished(project: Project, bucket_url: str) -> tuple[Project, str]:
    """The project after a run, and where its storage is; the same one for all tests."""
    if not (project.root / "dvc.lock").exists():
        project.params("storage", value={"url": f"{bucket_url}/a project"})
        (project.root / "LARGE").write_text(str(LARGE))
        project.run()
    url = json.loads(project.adasde("store", "check", "--json").stdout)["url"]
    return project, url


def keys(url: str) -> set[str]:
    return {entry.key for entry in open_store(url).list()}


def cloned(project: Project, folder: Path) -> Project:
    """What another person gets by git: everything but what a run has made, save dvc.lock."""
    (folder / "home/tmp").mkdir(parents=True)
    made = ("data", "report", "mlruns", "mlflow.db*", ".cache", ".prefect", "cache", "tmp", "config.local")
    shutil.copytree(project.root, folder / "clone", ignore=shutil.ignore_patterns(*made))
    return Project(folder / "clone", folder / "home")


def explained(done: subprocess.CompletedProcess[str], *words: str) -> None:
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("error: ")
    assert all(word in message for word in words), message
    assert "Traceback" not in done.stderr


def test_files_of_runs_lie_in_the_bucket(
    finished: tuple[Project, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    project, url = finished
    uri = f"sqlite:///{project.root}/mlflow.db"
    client = MlflowClient(uri)
    version = client.get_model_version_by_alias("adasde-digits-nfe3", "challenger")
    run = client.get_run(str(version.run_id))
    assert run.info.artifact_uri.startswith(f"{url}/mlflow/")
    assert "storage.url" not in run.data.params
    assert not (project.root / "mlruns").exists()
    assert sum("coefficients/coefficients.json" in key for key in keys(url)) == 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    made = project.root / "data/distill/nfe3/custom/coefficients.json"
    for spec in ("models:/adasde-digits-nfe3@challenger", f"models:/adasde-digits-nfe3/{version.version}"):
        assert local_copy(spec, tmp_path / "copy").read_bytes() == made.read_bytes()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreError, match=r"SignatureDoesNotMatch.*Set AWS_ACCESS_KEY_ID") as caught:
        local_copy("models:/adasde-digits-nfe3@challenger", tmp_path / "refused")
    assert caught.value.kind == "credentials" and list((tmp_path / "refused").iterdir()) == []
    told = project.adasde("promote", "digits", "--nfe", "3", code=1)
    explained(told, "SignatureDoesNotMatch", "Set AWS_ACCESS_KEY_ID and AWS_")


def test_bytes_go_there_and_come_to_another_machine(finished: tuple[Project, str], tmp_path: Path) -> None:
    project, url = finished
    pushed = json.loads(project.adasde("push", "--json").stdout)
    assert pushed["out"] == f"{url}/dvc"
    assert "pushed" in pushed["dvc"]
    assert any(key.startswith("dvc/files/md5/") for key in keys(url))
    assert json.loads(project.adasde("push", "--json").stdout)["dvc"] == "Everything is up to date."
    other = cloned(project, tmp_path)
    other.adasde("pull")
    for folder in ("data", "report"):
        assert tree(other.root / folder) == tree(project.root / folder)
    assert set(other.run()["stages"].values()) == {"unchanged"}


@pytest.mark.parametrize(
    ("variables", "url", "words"),
    [
        (
            {"AWS_SECRET_ACCESS_KEY": "wrong"},
            None,
            ("SignatureDoesNotMatch", "Set AWS_ACCESS_KEY_ID and AWS_"),
        ),
        (
            {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"},
            None,
            (":9 cannot be reached", "that the server is up"),
        ),
        ({}, "s3://nowhere-at-all/x", ("NoSuchBucket", "Make it with your server's tools", "storage.url")),
    ],
    ids=["wrong secret", "no server", "no bucket"],
)
def test_what_is_wrong_with_the_storage_is_said_before_anything_is_done(
    finished: tuple[Project, str],
    variables: dict[str, str],
    url: str | None,
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = cloned(finished[0], tmp_path)
    if url:
        other.params("storage", value={"url": url})
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    explained(other.adasde("push", code=1), *words)
    explained(other.adasde("pull", code=1), *words)
    explained(other.adasde("run", code=1), "no stage was started", *words)
    assert not (other.root / "data").exists()
    assert not (other.root / "mlflow.db").exists()


def test_a_sweep_is_refused_before_its_trials(finished: tuple[Project, str], tmp_path: Path) -> None:
    other = cloned(finished[0], tmp_path)
    other.params("storage", value={"url": "s3://nowhere-at-all/x"})
    told = other.adasde("sweep", "--set", "distill.lr=0.05,0.07", code=1)
    explained(told, "no stage was started", "NoSuchBucket", "Make it with your server's tools")
    assert not (other.root / "data").exists() and not (other.root / ".cache/sweeps").exists()


@pytest.mark.long
def test_bytes_that_are_not_in_the_storage(finished: tuple[Project, str], tmp_path: Path) -> None:
    project, url = finished
    other = cloned(project, tmp_path)
    other.params("storage", value={"url": f"{url}/nothing here"})
    explained(other.adasde("pull", code=1), "`dvc pull` failed", "is kept")


@pytest.mark.long
def test_everything_over_https_with_the_users_authority(
    finished: tuple[Project, str], s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, _ = finished
    authority, tls = own_authority(tmp_path)
    with proxy_to(s3_server.port, tls=tls) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        explained(project.adasde("push", code=1), "CERTIFICATE_VERIFY_FAILED", "AWS_CA_BUNDLE")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
        project.adasde("push")
        other = cloned(project, tmp_path)
        other.adasde("pull")
        assert tree(other.root / "data") == tree(project.root / "data")


@pytest.mark.long
def test_a_server_that_dies_while_a_run_is_tracked(
    finished: tuple[Project, str], s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, _ = finished
    project.params("distill", "lr", value=0.07)
    before = (project.root / "dvc.lock").read_bytes()
    with proxy_to(s3_server.port) as proxy, monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        process = project.start("run")
        eventually(
            lambda: (project.root / "dvc.lock").read_bytes() != before, every=0.02
        )  # a stage has ended
    _, err = process.communicate(timeout=600)
    assert process.returncode == 1, err
    (told,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert f"cannot keep the files of runs: {proxy.endpoint} cannot be reached" in told
    assert "Traceback" not in err
    again = project.run()
    assert set(again["stages"].values()) == {"unchanged"}
    assert all(run["new"] for run in again["runs"])


@pytest.mark.long
def test_a_disk_that_is_full_while_bytes_come(
    finished: tuple[Project, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, _ = finished
    project.adasde("push")
    other = cloned(project, tmp_path)
    folder = other.root / "data/reference"
    for order in ("0", "1"):  # of DVC's sets: the large file is the first of two, or the last and alone
        monkeypatch.setenv("PYTHONHASHSEED", order)
        with files_end_after(LARGE // 2):
            done = other.adasde("pull", code=1)
        explained(done, "`dvc pull` failed", "File too large", "run the same command again")
        other.adasde("pull")
        assert tree(other.root / "data") == tree(project.root / "data")
        for path in folder.iterdir():
            md5 = hashlib.md5(path.read_bytes()).hexdigest()
            (other.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()
            path.unlink()
