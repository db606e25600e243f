"""Promotion in a bucket of a real S3 server: the same order of writes, the same champion for everybody."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from homes import MODEL, QuickHome, promoted, rolled_back

from adasde.errors import AdaSDEError, StoreError
from adasde.storage import open_store, read_pointed
from adasde.storage.s3 import S3Store
from flows.registry.audit import Audit
from flows.registry.champion_store import Champions

pytestmark = pytest.mark.long


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket_url: str) -> QuickHome:
    monkeypatch.setenv("ADASDE_STORAGE_URL", bucket_url)
    return QuickHome(tmp_path / "project", monkeypatch)


def champions(home: QuickHome) -> Champions:
    return Champions(open_store(project=home.root), "adasde-digits-nfe5")


def used(home: QuickHome) -> float:
    """Mark of the coefficients that a user of the champion gets."""
    where, data = read_pointed(champions(home).address)
    assert where.startswith("s3://")
    return json.loads(data)["mark"]


def test_promoted_used_and_rolled_back(home: QuickHome, bucket_url: str) -> None:
    home.add(MODEL, 1.0)
    assert promoted(home).pointer == f"{bucket_url}/registry/adasde-digits-nfe5/champion.json"
    assert used(home) == 1.0
    home.add(MODEL, 0.5)
    promoted(home)
    assert used(home) == 0.5
    assert not promoted(home).changed
    rolled_back(home)
    assert used(home) == 1.0
    log = Audit(champions(home).store, f"{champions(home).folder}/audit", home.root)
    assert [entry["state"] for entry in log.entries()] == ["intended", "done"] * 3
    assert not (home.root / "store").exists()


def test_a_promotion_that_ends_at_any_write(home: QuickHome, monkeypatch: pytest.MonkeyPatch) -> None:
    home.add(MODEL, 100.0)
    promoted(home)
    old, real = 100.0, S3Store.write
    for writes in (3, 4, 5, 6):  # within the bundle, then the intention, the pointer, the end
        new, left = old / 1.5, writes
        home.add(MODEL, new)

        def write(self: S3Store, key: str, data: bytes) -> None:
            nonlocal left
            if left == 0:
                raise StoreError("the connection broke.", kind="unreachable")
            left -= 1
            real(self, key, data)

        with monkeypatch.context() as patch, suppress(AdaSDEError):
            patch.setattr(S3Store, "write", write)
            promoted(home)
        assert used(home) in (old, new)
        assert promoted(home).champion == home.alias(MODEL)
        assert used(home) == new
        old = new


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong", r"champion\.json: .*SignatureDoesNotMatch.*Set AWS_ACCESS_KEY_ID"),
        ("ADASDE_STORAGE_URL", "s3://nowhere-at-all/x", r"champion\.json: .*NoSuchBucket.*Make it with"),
    ],
)
def test_a_storage_that_refuses_changes_nothing(
    home: QuickHome, variable: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.add(MODEL, 1.0)
    promoted(home)
    better = home.add(MODEL, 0.5)
    for action in (promoted, rolled_back):
        with monkeypatch.context() as patch, pytest.raises(StoreError, match=words) as caught:
            patch.setenv(variable, value)
            action(home)
        assert "\n" not in str(caught.value)
        assert used(home) == 1.0
    assert promoted(home).champion == better
    assert used(home) == 0.5


def test_two_machines_at_once(home: QuickHome, monkeypatch: pytest.MonkeyPatch) -> None:
    home.add(MODEL, 1.0)
    log = Audit(champions(home).store, f"{champions(home).folder}/audit", Path("/elsewhere"))
    real = Champions.publish

    def publish(self: Champions, files: Any) -> Any:
        log.append("theirs", "intended", {"action": "promote", "host": "elsewhere", "by": "them@elsewhere"})
        return real(self, files)

    with monkeypatch.context() as patch:
        patch.setattr(Champions, "publish", publish)
        with pytest.raises(AdaSDEError, match="them@elsewhere is changing the champion"):
            promoted(home)
    assert champions(home).read() is None
    log.append("theirs", "withdrawn", {})
    assert promoted(home).changed
