"""DVC's remote follows the storage of the project; what a person chose on this machine stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from dvc.config import Config

from adasde.errors import StoreError
from flows.dvc import remote, transfer
from flows.dvc.prepare import prepare_dvc


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("ADASDE_STORAGE_URL", raising=False)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "dvc.yaml").touch()
    return tmp_path


def local(project: Path) -> dict:
    return Config(dvc_dir=str(project / ".dvc")).load_one("local")


def test_addresses_below_the_storage(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert remote.dvc_url(project) is remote.mlflow_url(project) is None
    (project / "params.yaml").write_text("storage: {url: shared bytes}\n")
    assert remote.dvc_url(project) == f"{project}/shared bytes/dvc"
    assert remote.mlflow_url(project) == f"file://{project}/shared%20bytes/mlflow"
    monkeypatch.setenv("ADASDE_STORAGE_URL", "s3://bucket/prefix/")
    assert remote.dvc_url(project) == "s3://bucket/prefix/dvc"
    assert remote.mlflow_url(project) == "s3://bucket/prefix/mlflow"


def test_the_remote_comes_moves_and_goes_with_the_storage(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_dvc(project)
    assert local(project)["remote"] == {}
    assert "remote" not in local(project)["core"]
    for url in ("s3://bucket/prefix", "s3://other", str(project / "there")):
        monkeypatch.setenv("ADASDE_STORAGE_URL", url)
        prepare_dvc(project)
        assert local(project)["remote"] == {"adasde": {"url": f"{url}/dvc", "verify": "true"}}
        assert local(project)["core"]["remote"] == "adasde"
    before = (project / ".dvc/config.local").stat().st_mtime_ns
    prepare_dvc(project)
    assert (project / ".dvc/config.local").stat().st_mtime_ns == before
    monkeypatch.delenv("ADASDE_STORAGE_URL")
    prepare_dvc(project)
    assert local(project)["remote"] == {}
    assert "remote" not in local(project)["core"]


def test_a_remote_chosen_on_this_machine_stays_the_default(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = "[core]\n    remote = mine\n['remote \"mine\"']\n    url = s3://mine\n    profile = me\n"
    (project / ".dvc/config.local").write_text(theirs)
    monkeypatch.setenv("ADASDE_STORAGE_URL", "s3://bucket")
    prepare_dvc(project)
    assert local(project)["core"]["remote"] == "mine"
    assert local(project)["remote"]["mine"] == {"url": "s3://mine", "profile": "me"}
    assert local(project)["remote"]["adasde"] == {"url": "s3://bucket/dvc", "verify": "true"}
    monkeypatch.delenv("ADASDE_STORAGE_URL")
    prepare_dvc(project)
    assert list(local(project)["remote"]) == ["mine"]


def test_no_credentials_are_written(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("AWS_ACCESS_KEY_ID", "an-id"), ("AWS_SECRET_ACCESS_KEY", "a-secret")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://an-endpoint")
    monkeypatch.setenv("ADASDE_STORAGE_URL", "s3://bucket")
    prepare_dvc(project)
    text = (project / ".dvc/config.local").read_text()
    assert "s3://bucket/dvc" in text
    assert "an-id" not in text and "a-secret" not in text and "an-endpoint" not in text


def test_moving_bytes_needs_a_storage_and_a_lock(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match=r"no storage is configured.*ADASDE_STORAGE_URL.*storage\.url"):
        transfer.transfer("push", project)
    monkeypatch.setenv("ADASDE_STORAGE_URL", str(project / "store"))
    with pytest.raises(StoreError, match=r"has no dvc\.lock.*adasde run.*from git"):
        transfer.transfer("pull", project)
