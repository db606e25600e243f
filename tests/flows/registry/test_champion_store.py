"""Bundles, pointer and audit log in a store: complete, immutable, verified, and readable for users."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adasde.errors import DataError, StoreError
from adasde.storage import LocalStore, read_pointed
from flows.registry import audit
from flows.registry.audit import GRACE, Audit
from flows.registry.champion_store import Champions, Pointer

FILES = {"coefficients.json": b'{"table": 1}', "metrics.json": b"{}", "provenance.json": b"[]"}
NAME = "adasde-digits-nfe5"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pointer(k: int) -> Pointer:
    bundle = f"bundles/{k}/coefficients.json"
    return Pointer(NAME, f"decision{k}", str(k), bundle, f"sha{k}", "then", "who@where")


@pytest.fixture
def champions(tmp_path: Path) -> Champions:
    return Champions(LocalStore(tmp_path / "store"), NAME)


@pytest.fixture
def log(champions: Champions, tmp_path: Path) -> Audit:
    return Audit(champions.store, f"{champions.folder}/audit", tmp_path)


def test_pointers_remember_and_return() -> None:
    third = pointer(1).succeeded_by(pointer(2)).succeeded_by(pointer(3))
    assert [one.version for one in third.previous] == ["2", "1"]
    assert third.decisions == {"decision1", "decision2", "decision3"}
    back = third.rolled_back("decision4", at="now", by="me")
    assert replace(back, previous=(), rejected=()) == replace(
        pointer(2), decision="decision4", at="now", by="me"
    )
    assert [one.version for one in back.previous] == ["1"]
    assert back.rejected == ("sha3",)
    further = back.rolled_back("decision5", at="now", by="me")
    assert (further.version, further.previous, further.rejected) == ("1", (), ("sha2", "sha3"))
    assert further.succeeded_by(pointer(3)).rejected == ("sha2",)


def test_pointers_do_not_grow_for_ever() -> None:
    last = pointer(0)
    for k in range(1, 200):
        last = last.succeeded_by(pointer(k))
    assert [one.version for one in last.previous] == [str(k) for k in range(198, 148, -1)]


def test_the_pointer_is_read_as_it_was_written(champions: Champions) -> None:
    assert champions.read() is None
    written = pointer(1).succeeded_by(pointer(2)).succeeded_by(pointer(3)).rolled_back("d", at="now", by="me")
    champions.point(written)
    assert champions.read() == written


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 1}'])
def test_what_is_no_pointer_is_refused(champions: Champions, text: str) -> None:
    champions.store.write(f"registry/{NAME}/champion.json", text.encode())
    with pytest.raises(DataError, match=r"champion\.json is no pointer of this version"):
        champions.read()


def test_a_bundle_is_complete_and_stays_as_it_is(champions: Champions, tmp_path: Path) -> None:
    key, digest = champions.publish(FILES)
    assert digest == sha256(FILES["coefficients.json"])
    folder = tmp_path / "store/registry" / NAME / Path(key).parent
    listing = (folder / "sha256sums.txt").read_bytes()
    assert folder.name == sha256(listing)
    subprocess.run(["sha256sum", "--check", "sha256sums.txt"], cwd=folder, check=True, capture_output=True)
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert set(times) == {*FILES, "sha256sums.txt"}
    assert champions.publish(FILES) == (key, digest)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == times
    assert champions.verify(key) == FILES
    other, _ = champions.publish(FILES | {"metrics.json": b"[1]"})
    assert other != key
    assert champions.verify(key) == FILES


def test_a_half_written_bundle_is_completed(champions: Champions, tmp_path: Path) -> None:
    key, _ = champions.publish(FILES)
    folder = tmp_path / "store/registry" / NAME / Path(key).parent
    (folder / "sha256sums.txt").unlink()
    (folder / "metrics.json").write_bytes(b"")
    with pytest.raises(StoreError):
        champions.verify(key)
    assert champions.publish(FILES)[0] == key
    assert champions.verify(key) == FILES


def test_a_file_that_was_exchanged_is_refused(champions: Champions) -> None:
    key, _ = champions.publish(FILES)
    champions.store.write(f"registry/{NAME}/{key}", b"with the store's own checksum")
    with pytest.raises(StoreError, match=r"coefficients\.json is not what was promoted") as caught:
        champions.verify(key)
    assert caught.value.kind == "checksum"


def test_users_of_the_champion_read_its_coefficients(champions: Champions) -> None:
    key, digest = champions.publish(FILES)
    champions.point(Pointer(NAME, "d", "1", key, digest, "then", "me"))
    where, data = read_pointed(champions.address)
    assert data == FILES["coefficients.json"]
    assert where.endswith(key)
    champions.store.write(f"registry/{NAME}/{key}", b"exchanged")
    with pytest.raises(StoreError, match="damaged or was altered"):
        read_pointed(champions.address)


def test_evaluations_are_kept_by_protocol_and_coefficients(champions: Champions, tmp_path: Path) -> None:
    assert champions.evaluation("p" * 64, "s" * 64) is None
    champions.keep_evaluation("p" * 64, "s" * 64, {"fid": 1})
    assert champions.evaluation("p" * 64, "s" * 64) == {"fid": 1}
    assert champions.evaluation("q" * 64, "s" * 64) is None
    (path,) = (tmp_path / "store/registry" / NAME / "evaluations").iterdir()
    path.write_text("altered")
    assert champions.evaluation("p" * 64, "s" * 64) is None


def test_the_log_only_grows(log: Audit, tmp_path: Path) -> None:
    first = log.append("aa", "intended", {"action": "promote", "version": "1"})
    before = {path: path.read_bytes() for path in (tmp_path / "store").rglob("*.json")}
    log.append("aa", "done", {})
    log.append("bb", "kept", {})
    assert {path: path.read_bytes() for path in before} == before
    entries = log.entries()
    assert [(entry["decision"], entry["state"]) for entry in entries] == [
        ("aa", "intended"),
        ("aa", "done"),
        ("bb", "kept"),
    ]
    assert entries[0] == first
    assert log.entries(1) == entries[-1:]
    assert entries[0]["by"] == audit.author()
    assert datetime.now(UTC) - datetime.fromisoformat(entries[0]["at"]) < timedelta(minutes=10)


def test_unfinished_intentions_are_found(log: Audit) -> None:
    log.append("aa", "intended", {"version": "1"})
    log.append("bb", "intended", {"version": "2"})
    log.append("aa", "withdrawn", {})
    assert [entry["version"] for entry in log.unfinished()] == ["2"]
    log.append("bb", "abandoned", {})
    assert log.unfinished() == []


def test_whose_intention_is_over(log: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = log.append("aa", "intended", {})
    assert log.is_over(ours)  # the lock of this project is ours, so whoever wrote it has ended
    elsewhere = ours | {"host": "another machine"}
    assert not log.is_over(elsewhere)
    assert not log.is_over(ours | {"project": "/another/folder"})
    assert log.is_over(elsewhere | {"at": (datetime.now(UTC) - GRACE - timedelta(seconds=1)).isoformat()})


def test_a_damaged_entry_says_what_its_key_says(log: Audit, tmp_path: Path) -> None:
    log.append("aa", "intended", {"version": "1"})
    (path,) = (tmp_path / "store/registry" / NAME / "audit").iterdir()
    path.write_text("altered")
    (entry,) = log.entries()
    assert (entry["decision"], entry["state"]) == ("aa", "intended")
    assert "was altered" in entry["damaged"]
    assert json.dumps(log.unfinished()) == json.dumps([entry])
    assert not log.is_over(entry)


def test_an_author_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(audit.getpass, "getuser", nobody)
    assert audit.author().partition("@")[0].isdigit()
