"""``adasde store check`` on a folder; on a server it is in test_s3_servers.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import adasde, explained
from tiny import tiny_values, write_params

from adasde.errors import StoreError
from adasde.storage import LocalStore
from adasde.storage import check as checking


def outcomes(steps: list[checking.CheckStep]) -> dict[str, str]:
    return {step.name: step.outcome for step in steps}


def test_help_has_an_example(tmp_path: Path) -> None:
    ended = adasde(["store", "check", "--help"], tmp_path)
    assert ended.code == 0
    assert "Example: adasde store check --url s3://bucket/prefix" in " ".join(ended.out.split())


def test_the_projects_own_folder(tmp_path: Path) -> None:
    ended = adasde(["store", "check"], tmp_path)
    assert ended.code == 0, ended.err
    words = [line.split()[:2] for line in ended.out.splitlines()]
    assert words[:4] == [["settings", "ok"], *([n, "skipped"] for n in ("endpoint", "credentials", "bucket"))]
    assert words[4:8] == [[name, "ok"] for name in ("write", "read", "list", "delete")]
    assert ended.out.splitlines()[-1] == "store check: store works"
    assert list(LocalStore(tmp_path / "store").list()) == []


def test_the_folder_of_params(tmp_path: Path) -> None:
    write_params(tmp_path, tiny_values() | {"storage": {"url": "else where"}})
    assert json.loads(adasde(["store", "check", "--json"], tmp_path).out)["url"] == str(
        tmp_path / "else where"
    )


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = adasde(["store", "check", "--json", "--url", "file/store"], tmp_path)
    explained(ended, "write: cannot store", "Not a directory")
    steps = json.loads(ended.out)["steps"]
    assert [step["outcome"] for step in steps] == [
        "ok",
        *["skipped"] * 3,
        "failed",
        "skipped",
        "ok",
        "skipped",
    ]
    assert all(step["milliseconds"] >= 0 for step in steps)


class Broken(LocalStore):
    """Fails in one way."""

    def __init__(self, folder: Path, fault: str) -> None:
        super().__init__(folder)
        self.fault = fault

    def read(self, key: str) -> bytes:
        return b"else" if self.fault == "read" else super().read(key)

    def list(self, prefix: str = ""):  # type: ignore[no-untyped-def]
        return iter(()) if self.fault == "list" else super().list(prefix)

    def delete(self, key: str) -> None:
        if self.fault == "delete":
            return
        if self.fault == "refuse":
            raise StoreError("no, never.")
        super().delete(key)


@pytest.mark.parametrize(
    ("fault", "step", "words"),
    [
        ("read", "read", "other bytes than were written"),
        ("list", "list", "does not list an object"),
        ("delete", "delete", "still there after it was deleted"),
        ("refuse", "delete", "no, never."),
    ],
)
def test_stores_that_lie(
    fault: str, step: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "open_store", lambda url, patience: Broken(tmp_path, fault))
    monkeypatch.setattr(checking, "PAUSE", 0.0)
    steps = list(checking.check())
    assert [one.name for one in steps if one.outcome == "failed"] == [step]
    assert words in next(one.note for one in steps if one.name == step)


@pytest.mark.parametrize(
    ("fault", "words"),
    [("read", "other bytes"), ("delete", "still there"), ("refuse", "no, never."), ("list", "")],
)
def test_what_must_work_before_there_is_work(fault: str, words: str, tmp_path: Path) -> None:
    store = Broken(tmp_path, fault)
    if not words:  # is not tried: it may take long
        checking.require_working(store)
        assert list(LocalStore(tmp_path).list()) == []
        return
    with pytest.raises(StoreError, match=words):
        checking.require_working(store)
