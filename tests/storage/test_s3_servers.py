"""A real S3 server that dies, is slow, falls silent, or has a certificate of a private authority."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from command import adasde, explained
from s3_server import S3Server
from store_contract import CONTENT, MB, large_file, refused
from tcp_proxy import Proxy, own_authority, proxy_to

from adasde.storage.base import Patience
from adasde.storage.s3 import S3Store
from adasde.utils.atomic_io import sha256_file

pytestmark = pytest.mark.long

HASTY = Patience(attempts=2, connect=5.0, read=20.0)
LONG = Patience(attempts=40)
"""A server starts slowly on a busy machine."""


@pytest.fixture
def url(bucket_url: str) -> str:
    return f"{bucket_url}/some prefix/ü"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    return large_file(tmp_path / "large")


def behind(
    proxy: Proxy,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    part: int = 128 * MB,
    patience: Patience = HASTY,
) -> S3Store:
    """The store, reached through the proxy."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
    return S3Store(url, part=part, patience=patience)


class TestBadServers:
    """Servers that die, are slow or fall silent."""

    @pytest.mark.parametrize("part", [8 * MB, 128 * MB], ids=["in parts", "at once"])
    def test_killed_in_the_middle_of_an_upload_and_restarted(
        self, url: str, large: Path, part: int, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with proxy_to(s3_server.port) as proxy, ThreadPoolExecutor(1) as pool:
            store = behind(proxy, url, monkeypatch, part=part, patience=LONG)
            store.write("key", b"old")
            proxy.sent, proxy.rate = 0, 20 * MB
            upload = pool.submit(store.put, large, "key")
            while proxy.sent < 20 * MB:
                time.sleep(0.02)
            s3_server.stop(signal.SIGKILL)
            proxy.rate = None
            assert not upload.done()
            time.sleep(0.5)
            s3_server.start()
            assert upload.result() == sha256_file(large)
            store.get("key", large.with_name("back"))
        assert sha256_file(large.with_name("back")) == sha256_file(large)

    def test_killed_for_good_in_the_middle_of_an_upload(
        self, url: str, large: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with proxy_to(s3_server.port) as proxy, ThreadPoolExecutor(1) as pool:
            store = behind(proxy, url, monkeypatch, part=8 * MB, patience=HASTY)
            store.write("key", b"old")
            proxy.sent, proxy.rate = 0, 20 * MB
            upload = pool.submit(store.put, large, "key")
            while proxy.sent < 20 * MB:
                time.sleep(0.02)
            s3_server.stop(signal.SIGKILL)
            proxy.rate = None
            try:
                with refused(
                    "unreachable", "cannot store .*key", "What was there before is kept; run the same"
                ):
                    upload.result()
            finally:
                s3_server.start()
            patient = behind(proxy, url, monkeypatch, part=8 * MB, patience=LONG)
            assert patient.read("key") == b"old"
            assert patient.put(large, "key") == sha256_file(large)

    @pytest.mark.parametrize("part", [8 * MB, 128 * MB], ids=["in parts", "at once"])
    def test_killed_in_the_middle_of_a_download_and_restarted(
        self, url: str, large: Path, part: int, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        S3Store(url).put(large, "key")
        store, back = S3Store(url, part=part, patience=LONG), large.with_name("back")
        moved: list[int] = []
        reached, restarted = Event(), Event()

        def progress(units: int = 1, /, note: str = "") -> None:
            moved.append(units)
            if sum(moved) > 20 * MB:
                reached.set()
                restarted.wait(600)

        with ThreadPoolExecutor(1) as pool:
            download = pool.submit(store.get, "key", back, progress=progress)
            assert reached.wait(600)
            s3_server.stop(signal.SIGKILL)
            s3_server.start()
            restarted.set()
            download.result()
        assert sha256_file(back) == sha256_file(large)
        assert sum(moved) == 64 * MB
        assert sorted(path.name for path in large.parent.iterdir()) == ["back", "large"]

    def test_a_slow_server(
        self, url: str, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_bytes(CONTENT * 10_000)
        with proxy_to(s3_server.port) as proxy:
            store = behind(proxy, url, monkeypatch, part=100_000)
            proxy.delay, proxy.rate = 0.3, 200_000
            digest = store.put(tmp_path / "file", "key")
            store.get("key", tmp_path / "back")
        assert sha256_file(tmp_path / "back") == digest

    def test_a_server_that_never_answers(
        self, url: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with proxy_to(s3_server.port) as proxy:
            store = behind(proxy, url, monkeypatch, patience=Patience(attempts=2, connect=0.5, read=0.5))
            proxy.silent = True
            began = time.monotonic()
            with refused("unreachable", proxy.endpoint, "Read timeout", "Check that the server is up"):
                store.read("key")
            assert time.monotonic() - began < 20


class TestHttps:
    """A certificate of a private authority."""

    def test_the_users_authority(
        self, url: str, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        authority, tls = own_authority(tmp_path)
        with proxy_to(s3_server.port, tls=tls) as proxy:
            with refused("tls", "CERTIFICATE_VERIFY_FAILED", "AWS_CA_BUNDLE"):
                behind(proxy, url, monkeypatch, patience=HASTY).read("key")
            monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
            store = behind(proxy, url, monkeypatch, part=MB)
            (tmp_path / "file").write_bytes(os.urandom(3 * MB))
            digest = store.put(tmp_path / "file", "key")
            store.get("key", tmp_path / "back")
            assert sha256_file(tmp_path / "back") == digest
            store.write("small", b"x")
            assert store.read("small") == b"x"

    def test_an_authority_that_is_no_file(
        self, url: str, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere.pem")
        with (
            proxy_to(s3_server.port, tls=own_authority(tmp_path)[1]) as proxy,
            refused("tls", "No such file", "AWS_CA_BUNDLE"),
        ):
            behind(proxy, url, monkeypatch).read("key")


class TestCheck:
    """``adasde store check``."""

    NAMES = ("settings", "endpoint", "credentials", "bucket", "write", "read", "list", "delete")

    def outcomes(self, out: str) -> list[str]:
        steps = json.loads(out)["steps"]
        assert tuple(step["name"] for step in steps) == self.NAMES
        return [step["outcome"] for step in steps]

    def test_all_is_well(self, url: str, tmp_path: Path) -> None:
        ended = adasde(["store", "check", "--url", url], tmp_path)
        assert ended.code == 0, ended.err
        lines = ended.out.splitlines()
        assert [line.split()[:2] for line in lines[:-1]] == [[name, "ok"] for name in self.NAMES]
        assert all(line.endswith(" ms") for line in lines[:-1])
        assert lines[-1] == f"store check: {url} works"
        assert list(S3Store(url).list()) == []

    def test_the_environment_names_the_store(
        self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ADASDE_STORAGE_URL", url)
        ended = adasde(["store", "check", "--json"], tmp_path)
        assert json.loads(ended.out)["url"] == url
        assert self.outcomes(ended.out) == ["ok"] * 8

    @pytest.mark.parametrize(
        ("variable", "value", "outcomes", "words"),
        [
            (
                "AWS_SECRET_ACCESS_KEY",
                "wrong",
                "ok ok failed",
                ["SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"],
            ),
            (
                "AWS_ENDPOINT_URL_S3",
                "http://127.0.0.1:9",
                "ok failed",
                ["cannot be reached", "is its address"],
            ),
            ("AWS_ENDPOINT_URL_S3", "nonsense", "failed", ["Invalid endpoint: nonsense"]),
            ("ADASDE_STORAGE_URL", "s3://nowhere-at-all", "ok ok ok failed", ["NoSuchBucket", "Make it"]),
            ("ADASDE_STORAGE_URL", "gs://x", "failed", ["no address of a store"]),
        ],
    )
    def test_the_first_failure_and_what_to_do(
        self,
        url: str,
        variable: str,
        value: str,
        outcomes: str,
        words: list[str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("ADASDE_STORAGE_URL", url)
        monkeypatch.setenv(variable, value)
        ended = adasde(["store", "check", "--json"], tmp_path)
        explained(ended, *words)
        found = self.outcomes(ended.out)
        assert found == outcomes.split() + ["skipped"] * (8 - len(outcomes.split()))

    def test_a_silent_server_takes_a_few_seconds(
        self, url: str, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with proxy_to(s3_server.port) as proxy:
            behind(proxy, url, monkeypatch)
            proxy.silent = True
            began = time.monotonic()
            explained(adasde(["store", "check", "--url", url], tmp_path), "endpoint: ", "Read timeout")
            assert time.monotonic() - began < 30
