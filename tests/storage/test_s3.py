"""A bucket of a real S3 server as a store: the promises of every store, and failures of servers."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from command import adasde
from s3_server import S3Server
from store_contract import CONTENT, MB, StoreContract, large_file, refused
from tables import random_table

from adasde.errors import StoreError
from adasde.models.loading import load_model
from adasde.storage.base import Patience
from adasde.storage.s3 import PART, S3Store
from adasde.utils.atomic_io import sha256_file

pytestmark = pytest.mark.integration

HASTY = Patience(attempts=2, connect=5.0, read=20.0)


@pytest.fixture
def url(bucket_url: str) -> str:
    return f"{bucket_url}/some prefix/ü"


@pytest.fixture
def store(url: str) -> S3Store:
    return S3Store(url)


class TestS3Store(StoreContract):
    """The promises of every store."""


def test_large_files_go_in_parts(url: str, tmp_path: Path) -> None:
    large = large_file(tmp_path / "large")
    store, moved = S3Store(url, part=8 * MB), []
    digest = store.put(large, "large", progress=moved.append)  # type: ignore[arg-type]
    head = store.client.head_object(Bucket=store.bucket, Key=f"{store.prefix}/large")
    assert head["ETag"].strip('"').endswith("-8")
    assert head["Metadata"] == {"sha256": digest}
    assert sum(moved) == 64 * MB
    store.get("large", tmp_path / "back", progress=moved.append)  # type: ignore[arg-type]
    assert sha256_file(tmp_path / "back") == digest == sha256_file(large)
    assert sum(moved) == 128 * MB
    assert 64 * MB > PART  # also in parts without being asked


@pytest.mark.long
def test_more_keys_than_an_answer_holds(store: S3Store) -> None:
    keys = [f"many/{k:04d} é" for k in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.write(key, b""), keys))
    assert [entry.key for entry in store.list("many/")] == keys


def test_prefixes_keep_stores_apart(bucket_url: str) -> None:
    whole, inner, beside = (
        S3Store(bucket_url),
        S3Store(f"{bucket_url}/a/"),
        S3Store(f"{bucket_url}/ab"),
    )
    inner.write("x", b"1")
    beside.write("y", b"2")
    assert [entry.key for entry in inner.list()] == ["x"]
    assert [entry.key for entry in whole.list()] == ["a/x", "ab/y"]
    assert inner.where("x") == f"{bucket_url}/a/x"


class TestWrongSettings:
    """Wrong settings: one paragraph, nothing lost, and the store works again with the right ones."""

    @pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
    def test_wrong_credentials(
        self, store: S3Store, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.write("key", b"old")
        (tmp_path / "file").write_bytes(CONTENT)
        monkeypatch.setenv(variable, "test:wrong")
        theirs = S3Store(store.url)
        for call in (
            lambda: theirs.put(tmp_path / "file", "key"),
            lambda: theirs.get("key", tmp_path / "back"),
            lambda: theirs.write("key", b"new"),
            lambda: theirs.read("key"),
            lambda: list(theirs.list()),
            lambda: theirs.exists("key"),
            lambda: theirs.delete("key"),
        ):
            with refused("credentials", store.endpoint, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"):
                call()
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
        assert store.read("key") == b"old"

    def test_no_credentials(self, store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with refused("credentials", "Unable to locate credentials", "AWS_PROFILE"):
            S3Store(store.url).read("key")
        monkeypatch.setenv("AWS_PROFILE", "nobody")
        with refused("credentials", "nobody", "AWS_PROFILE"):
            S3Store(store.url)

    def test_a_missing_bucket(self, bucket_url: str, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(CONTENT)
        store = S3Store("s3://nowhere-to-be-found/x")
        for call in (
            lambda: store.put(tmp_path / "file", "key"),
            lambda: store.get("key", tmp_path / "back"),
            lambda: store.exists("key"),
            lambda: list(store.list()),
        ):
            with refused("bucket", "nowhere-to-be-found", "Make it with your server's tools", "storage.url"):
                call()

    @pytest.mark.parametrize("endpoint", ["nonsense", "http://"])
    def test_an_endpoint_that_is_none(self, url: str, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        with refused("name", "Invalid endpoint", "AWS_ENDPOINT_URL_S3"):
            S3Store(url)

    def test_a_server_that_is_not_there(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
        with refused("unreachable", "http://127.0.0.1:9 cannot be reached", "AWS_ENDPOINT_URL_S3"):
            S3Store(url, patience=HASTY).read("key")


class TestAltered:
    """Objects that another program changed."""

    def alter(self, store: S3Store, body: bytes, **metadata: str) -> None:
        place = f"{store.prefix}/key"
        store.client.put_object(Bucket=store.bucket, Key=place, Body=body, Metadata=metadata)

    @pytest.mark.parametrize("size", [10, 3 * MB])
    def test_other_bytes_under_the_old_checksum(self, url: str, size: int, tmp_path: Path) -> None:
        store = S3Store(url, part=MB)
        store.write("key", bytes(size))
        self.alter(store, bytes(size - 1) + b"x", sha256=hashlib.sha256(bytes(size)).hexdigest())
        for call in (lambda: store.read("key"), lambda: store.get("key", tmp_path / "target")):
            with refused(
                "checksum", "key is damaged or was altered", "Nothing was taken", "store the object"
            ):
                call()
        assert list(tmp_path.iterdir()) == []

    def test_another_program_s_object(self, store: S3Store, tmp_path: Path) -> None:
        store.write("key", CONTENT)
        self.alter(store, b"theirs")
        for call in (lambda: store.read("key"), lambda: store.get("key", tmp_path / "target")):
            with refused("checksum", "key has no checksum: another program stored it"):
                call()
        store.get("key", tmp_path / "target", unchecked=True)
        assert (tmp_path / "target").read_bytes() == b"theirs"

    def test_a_disk_of_the_server_that_rots(
        self, store: S3Store, s3_server: S3Server, tmp_path: Path
    ) -> None:
        store.write("key", b"rotten to be" * 50)
        for path in s3_server.data.rglob("*.data"):
            if (data := path.read_bytes()).startswith(b"rotten to be"):
                path.write_bytes(b"R" + data[1:])
        quick = S3Store(store.url, patience=HASTY)
        with pytest.raises(StoreError):
            quick.get("key", tmp_path / "target")
        assert list(tmp_path.iterdir()) == []

    def test_a_source_that_changes_meanwhile(
        self, store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_bytes(CONTENT)

        def change(units: int = 1, /, note: str = "") -> None:
            (tmp_path / "file").write_bytes(CONTENT + b"more")

        with refused("checksum", "file changed while it was being stored", "nothing writes to it any more"):
            store.put(tmp_path / "file", "key", progress=change)


def test_images_of_any_seeds_go_there_and_what_was_altered_is_made_again(url: str, tmp_path: Path) -> None:
    model = load_model("digits")
    random_table(model={"name": "digits", "sha256": model.sha256}).save(tmp_path / "nfe5.json")

    def made(out: str, *words: str) -> int:
        given = ["--coefficients", "nfe5.json", "--seeds", "998-1005", "--batch", "3", "--out", out, "--json"]
        ended = adasde(["sample", *given, *words], tmp_path)
        assert ended.code == 0, ended.err
        return json.loads(ended.out)["made"]

    assert made("here") == made(f"{url}/images", "--grid", "grid.png") == 8
    store = S3Store(f"{url}/images")
    files = [path.relative_to(tmp_path / "here").as_posix() for path in (tmp_path / "here").rglob("*.png")]
    assert "001000/001005.png" in files
    assert all(store.read(name) == (tmp_path / "here" / name).read_bytes() for name in files)
    assert made(f"{url}/images") == 0
    store.delete("001000/001000.png")
    store.write("001000/001001.png", b"something else")
    place = {"Bucket": store.bucket, "Key": f"{store.prefix}/001000/001002.png"}
    store.client.put_object(**place, Body=b"by another program")
    assert made(f"{url}/images") == 3
    assert all(store.read(name) == (tmp_path / "here" / name).read_bytes() for name in files)
    assert (tmp_path / "grid.png").is_file()
