"""The promises of every store: a class of tests for each kind of store to inherit."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from adasde.errors import StoreError
from adasde.storage import Entry, Store

CONTENT = b"bytes \x00 of an object"
KEYS = [
    "a",
    "a b/c d.json",
    "ünïcödé/日本語 ☃.bin",
    "q?x=1&y=%20+#.json",
    "a/b'c\"d",
    "x" * 200,
    "~/e=f;g,h@i!",
]

MB = 1 << 20


def large_file(path: Path) -> Path:
    """A file of 64 MB."""
    path.write_bytes(os.urandom(64 * MB))
    return path


def refused(kind: str, *words: str) -> Any:
    """Expect a StoreError of that kind whose message has the words (patterns) in that order."""
    return pytest.raises(StoreError, match="(?s)" + ".*".join(words), check=lambda error: error.kind == kind)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class StoreContract:
    """Tests of a store; needs a fixture ``store``, an empty one."""

    @pytest.mark.parametrize("key", KEYS)
    def test_what_is_written_is_read(self, store: Store, key: str) -> None:
        assert not store.exists(key)
        store.write(key, CONTENT)
        assert store.exists(key)
        assert store.read(key) == CONTENT
        assert list(store.list()) == [Entry(key, len(CONTENT))]
        assert store.where(key) == f"{store.url}/{key}"
        store.delete(key)
        assert not store.exists(key)
        assert list(store.list()) == []

    def test_files_go_there_and_come_back(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(CONTENT * 1000)
        moved: list[int] = []

        def progress(units: int = 1, /, note: str = "") -> None:
            moved.append(units)

        assert store.put(tmp_path / "file", "a/b", progress=progress) == sha256(CONTENT * 1000)
        assert sum(moved) == len(CONTENT) * 1000
        store.get("a/b", tmp_path / "new folder/back", progress=progress)
        assert (tmp_path / "new folder/back").read_bytes() == CONTENT * 1000
        assert sum(moved) == 2 * len(CONTENT) * 1000
        assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["back"]

    def test_the_empty_object(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        assert store.put(tmp_path / "empty", "empty") == sha256(b"")
        store.get("empty", tmp_path / "back")
        assert store.read("empty") == (tmp_path / "back").read_bytes() == b""

    def test_the_last_content_counts(self, store: Store) -> None:
        for content in (b"first", b"second", b"third"):
            store.write("key", content)
            assert store.read("key") == content

    def test_listing_by_prefix_in_order(self, store: Store) -> None:
        keys = ["a/b", "a/bc", "a-b", "b", "a/é", "a/z", "aa"]
        for key in keys:
            store.write(key, key.encode())
        assert [entry.key for entry in store.list()] == sorted(keys, key=str.encode)
        assert [entry.key for entry in store.list("a/b")] == ["a/b", "a/bc"]
        assert [entry.key for entry in store.list("a/")] == ["a/b", "a/bc", "a/z", "a/é"]
        assert list(store.list("nothing")) == []

    def test_what_is_not_there(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "old").write_text("old")
        store.delete("nothing")
        assert not store.exists("nothing")
        for call in (lambda: store.read("nothing"), lambda: store.get("nothing", tmp_path / "old")):
            with pytest.raises(StoreError, match=r"nothing.*storage\.url") as caught:
                call()
            assert caught.value.kind == "missing"
        assert [path.read_text() for path in tmp_path.iterdir() if path.is_file()] == ["old"]

    def test_a_source_that_is_not_there(self, store: Store, tmp_path: Path) -> None:
        store.write("key", b"old")
        with pytest.raises(
            StoreError, match=r"cannot store .*key: No such file.*lost.*What was there before"
        ):
            store.put(tmp_path / "lost", "key")
        assert store.read("key") == b"old"

    @pytest.mark.parametrize(
        ("key", "why"),
        [
            ("", "empty"),
            ("/etc/passwd", "absolute"),
            ("a/../b", r"\. or \.\."),
            ("..", r"\. or \.\."),
            ("./a", r"\. or \.\."),
            ("a//b", "part of it is empty"),
            ("a/", "part of it is empty"),
            ("a\nb", "control characters"),
            ("a\x7f", "control characters"),
            ("\udcff", "not valid Unicode"),
            ("é" * 600, "longer than 1024 bytes"),
            (".sha256/a", "reserved"),
        ],
    )
    def test_keys_that_are_none(self, store: Store, key: str, why: str, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        calls = [
            lambda: store.put(tmp_path / "file", key),
            lambda: store.get(key, tmp_path / "back"),
            lambda: store.write(key, b""),
            lambda: store.read(key),
            lambda: store.exists(key),
            lambda: store.delete(key),
        ]
        for call in calls:
            with pytest.raises(StoreError, match=f"cannot be the key of a stored object: .*{why}"):
                call()

    def test_many_files_at_once(self, store: Store, tmp_path: Path) -> None:
        files = {f"shards/{k:02d}": tmp_path / f"{k}" for k in range(12)}
        for k, path in enumerate(files.values()):
            path.write_bytes(bytes([k]) * (1000 + k))
        moved: list[int] = []

        def progress(units: int = 1, /, note: str = "") -> None:
            moved.append(units)

        sums = store.put_many(files, progress=progress)
        assert sums == {key: sha256(path.read_bytes()) for key, path in files.items()}
        targets = {key: tmp_path / "back" / path.name for key, path in files.items()}
        store.get_many(targets, progress=progress)
        assert all(targets[key].read_bytes() == files[key].read_bytes() for key in files)
        assert sum(moved) == 2 * sum(path.stat().st_size for path in files.values())

    def test_one_failure_stops_many(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "there").write_bytes(CONTENT)
        files = {f"k{k:02d}": tmp_path / ("there" if k else "lost") for k in range(20)}
        with pytest.raises(StoreError, match=r"k00.*No such file"):
            store.put_many(files)
        (tmp_path / "lost").write_bytes(CONTENT)
        assert len(store.put_many(files)) == 20  # the same call again
