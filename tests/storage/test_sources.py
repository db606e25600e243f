"""Files from a path, an address, or a registry; pointers; verified and refused content."""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from site_server import Quiet, served, served_folder
from tcp_proxy import own_authority, proxy_to

import adasde
from adasde.errors import CoefficientsError, StoreError
from adasde.sampling.coefficients import neutral
from adasde.sampling.schedules import schedule
from adasde.storage import LocalStore, download, local_copy, resolve_pointer
from adasde.storage.base import HashedFile

if TYPE_CHECKING:
    from mlflow import MlflowClient

CONTENT = b"content" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The address of a server of the files in ``tmp_path``/site."""
    (tmp_path / "site").mkdir(exist_ok=True)
    with served_folder(tmp_path / "site") as address:
        yield address


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)


def test_paths_are_files_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a b").write_bytes(CONTENT)
    for spec in (tmp_path / "a b", str(tmp_path / "a b"), (tmp_path / "a b").as_uri()):
        assert local_copy(spec, sha256=SHA256) == tmp_path / "a b"
    for spec in (tmp_path / "lost", tmp_path):
        with pytest.raises(StoreError, match="is not there"):
            local_copy(spec)
    with pytest.raises(StoreError, match="a b is damaged or was altered"):
        local_copy(tmp_path / "a b", sha256="0" * 64)


@pytest.mark.parametrize("spec", ["gs://bucket/x", "ftp://host/x"])
def test_unknown_addresses_are_refused(spec: str) -> None:
    with pytest.raises(StoreError, match=r"not known.*s3://, https://, hf://org/name/file or models:/"):
        local_copy(spec)


def test_copies_by_http(site: str, tmp_path: Path) -> None:
    (tmp_path / "site/a ü.bin").write_bytes(CONTENT)
    copy = local_copy(f"{site}/a%20%C3%BC.bin?x=1", tmp_path / "here", sha256=SHA256)
    assert copy == tmp_path / "here/a ü.bin"
    assert copy.read_bytes() == CONTENT
    for name in ("a%20%C3%BC.bin", "a ü.bin"):
        assert local_copy(f"{site}/{name}#sha256={SHA256}").read_bytes() == CONTENT


def test_http_content_that_is_another(site: str, tmp_path: Path) -> None:
    (tmp_path / "site/a").write_bytes(CONTENT)
    (tmp_path / "here").mkdir()
    (tmp_path / "here/a").write_text("old")
    for call in (
        lambda: local_copy(f"{site}/a", tmp_path / "here", sha256="0" * 64),
        lambda: local_copy(f"{site}/a#sha256={'0' * 64}", tmp_path / "here"),
    ):
        with pytest.raises(StoreError, match=r"/a is damaged or was altered.*sha256"):
            call()
    assert [path.read_text() for path in (tmp_path / "here").iterdir()] == ["old"]


def test_http_addresses_without_a_file(site: str, tmp_path: Path) -> None:
    with pytest.raises(
        StoreError, match=r"cannot get http.*/lost: the server answers 404 .*address"
    ) as caught:
        local_copy(f"{site}/lost", tmp_path)
    assert caught.value.kind == "missing"
    with pytest.raises(StoreError, match="it is empty"):
        local_copy(f"{site}/", tmp_path)
    with pytest.raises(StoreError, match=r"cannot get http://127\.0\.0\.1:9/x: the server cannot be reached"):
        local_copy("http://127.0.0.1:9/x", tmp_path)


class Moody(Quiet):
    """Refuses, cuts short, then delivers."""

    answers: list[str]

    def do_GET(self) -> None:
        mood = self.answers.pop(0)
        self.send_response(503 if mood == "busy" else 200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if mood != "busy":
            self.wfile.write(CONTENT if mood == "whole" else CONTENT[:100])


def test_http_again_where_that_may_help(tmp_path: Path) -> None:
    handler = type("Handler", (Moody,), {"answers": ["busy", "short", "whole"]})
    with served(handler) as address:
        copy = local_copy(f"{address}/x", tmp_path)
    assert copy.read_bytes() == CONTENT
    handler.answers = ["short"] * download.PATIENCE.attempts
    with served(handler) as address, pytest.raises(StoreError, match="7000"):
        local_copy(f"{address}/y", tmp_path)
    assert handler.answers == []
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_https_with_an_authority_of_ones_own(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site/a").write_bytes(CONTENT)
    authority, tls = own_authority(tmp_path)
    with proxy_to(int(site.rpartition(":")[2]), tls=tls) as proxy:
        with pytest.raises(StoreError, match=r"CERTIFICATE_VERIFY_FAILED.*SSL_CERT_FILE") as caught:
            local_copy(f"{proxy.endpoint}/a", tmp_path)
        assert caught.value.kind == "tls"
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        assert ssl.get_default_verify_paths().cafile == str(authority)
        assert local_copy(f"{proxy.endpoint}/a", tmp_path).read_bytes() == CONTENT


def test_a_full_disk(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site/a").write_bytes(CONTENT)

    def full(file: HashedFile, data: bytes) -> int:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(HashedFile, "write", full)
        with pytest.raises(StoreError, match=r"cannot get .*/a: No space left on device.*free some space"):
            local_copy(f"{site}/a", tmp_path / "here")
    assert list((tmp_path / "here").iterdir()) == []
    assert local_copy(f"{site}/a", tmp_path / "here").read_bytes() == CONTENT


@pytest.fixture
def table() -> adasde.Coefficients:
    return neutral(schedule("time_uniform", 3), afs=True)


@pytest.fixture
def registry(table: adasde.Coefficients, tmp_path: Path) -> LocalStore:
    """A store with a bundle and a pointer to it."""
    table.save(tmp_path / "c.json")
    store = LocalStore(tmp_path / "site")
    digest = store.put(tmp_path / "c.json", "digits/bundles/1 é/coefficients.json")
    pointer = {"bundle": "bundles/1 é/coefficients.json", "sha256": digest, "version": 1}
    store.write("digits/champion.json", json.dumps(pointer).encode())
    return store


@pytest.mark.parametrize("place", ["{folder}", "file://{folder}", "{site}"])
def test_coefficients_through_a_pointer(
    place: str, site: str, table: adasde.Coefficients, registry: LocalStore
) -> None:
    base = place.format(folder=registry.url, site=site)
    for name in ("champion.json", "bundles/1%20%C3%A9/coefficients.json" if ":" in base else ""):
        if name:
            loaded = adasde.Coefficients.load(f"{base}/digits/{name}")
            assert loaded.sigmas.tolist() == table.sigmas.tolist()


def test_a_pointer_beside_the_working_directory(
    registry: LocalStore, table: adasde.Coefficients, monkeypatch: pytest.MonkeyPatch, site: str
) -> None:
    monkeypatch.chdir(registry.folder / "digits")
    assert adasde.Coefficients.load("champion.json").nfe == table.nfe
    assert adasde.Coefficients.load(Path("champion.json")).nfe == table.nfe


def test_a_pointer_to_an_altered_bundle(registry: LocalStore, site: str) -> None:
    bundle = registry.folder / "digits/bundles/1 é/coefficients.json"
    bundle.write_text(bundle.read_text().replace("true", "false"))
    for base in (registry.url, site):
        with pytest.raises(StoreError, match=r"coefficients\.json is damaged or was altered"):
            adasde.Coefficients.load(f"{base}/digits/champion.json")
    bundle.unlink()
    with pytest.raises(
        CoefficientsError, match=r"cannot read coefficients .*coefficients\.json: No such file"
    ):
        adasde.Coefficients.load(f"{registry.url}/digits/champion.json")
    with pytest.raises(StoreError, match=r"coefficients\.json: the server answers 404"):
        adasde.Coefficients.load(f"{site}/digits/champion.json")


def test_a_pointer_stays_in_its_folder() -> None:
    for bundle in ("../x", "/etc/passwd", ""):
        with pytest.raises(StoreError, match="cannot be the key"):
            resolve_pointer("a/p.json", json.dumps({"bundle": bundle, "sha256": "0"}).encode())
    for data in (b"{", b"[]", b'{"bundle": "x"}', b"\xff"):
        assert resolve_pointer("a/p.json", data) is None


def test_broken_coefficients_at_an_address_are_named(site: str, tmp_path: Path) -> None:
    (tmp_path / "site/c.json").write_text('{"schema_version": 1')
    with pytest.raises(CoefficientsError, match=rf"{site}/c\.json is not a complete coefficient file"):
        adasde.Coefficients.load(f"{site}/c.json")


def test_without_mlflow_or_boto3_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(StoreError, match=r"models:/x@y needs mlflow.*pip install 'adasde\[pipeline\]'"):
        adasde.Coefficients.load("models:/x@y")
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.delitem(sys.modules, "adasde.storage.s3", raising=False)
    monkeypatch.setitem(sys.modules, "boto3.s3.transfer", None)
    with pytest.raises(StoreError, match=r"s3://b needs boto3.*pip install 'adasde\[pipeline\]'"):
        adasde.Coefficients.load("s3://b/x")


@pytest.fixture
def client(tmp_path: Path) -> MlflowClient:
    """MLflow's registry in a new database, with the model "m"."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    client = mlflow.MlflowClient()
    client.create_registered_model("m")
    return client


def test_a_bucket_behind_mlflow_that_refuses_is_explained(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow alone would only say that it failed and to check the path."""
    experiment = client.create_experiment("x", artifact_location="s3://bucket/x")
    run = client.create_run(experiment).info.run_id
    client.create_model_version("m", f"runs:/{run}/coefficients")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    place = rf"s3://bucket/x/{run}/artifacts/coefficients/coefficients\.json"
    with pytest.raises(StoreError, match=rf"cannot get {place}: .*credentials.*AWS_SECRET_ACCESS_KEY"):
        local_copy("models:/m/1", tmp_path / "copy")


def test_a_registered_version_whose_files_have_gone(client: MlflowClient, tmp_path: Path) -> None:
    client.create_model_version("m", str(tmp_path / "gone"))
    with pytest.raises(StoreError, match=r"gone/coefficients\.json is not there"):
        local_copy("models:/m/1", tmp_path / "copy")


@pytest.mark.parametrize("spec", ["models:/m", "models:/m/best", "models:/"])
def test_what_names_no_version(client: MlflowClient, spec: str) -> None:
    with pytest.raises(StoreError, match=r"names no version: say models:/NAME@ALIAS or models:/NAME/NUMBER"):
        local_copy(spec)
