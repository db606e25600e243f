"""Promotion and rollback: who becomes champion, what is written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from homes import MODEL, QuickHome, metrics, promoted, rolled_back

from adasde.errors import AdaSDEError, StoreError
from flows.registry import service, transaction


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> QuickHome:
    return QuickHome(tmp_path / "project", monkeypatch)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_first_becomes_champion_and_everything_says_so(home: QuickHome) -> None:
    version = home.add(MODEL, 1.0)
    outcome = promoted(home)
    assert (outcome.changed, outcome.champion, outcome.before) == (True, version, None)
    assert "there is no champion yet" in outcome.reasons[0]
    assert home.champion(MODEL) == home.alias(MODEL) == version
    pointer = json.loads(Path(outcome.pointer).read_text())
    tags = home.tags(MODEL, version)
    assert tags["promotion"].startswith("promoted 20")
    assert "there is no champion yet" in tags["promotion_reasons"]
    assert tags["sha256"] == pointer["sha256"]
    intended, done = home.audit(MODEL).entries()
    assert (intended["state"], done["state"]) == ("intended", "done")
    values = {"mean": 1.0, "spread": 0.001, "values": [0.999, 1.0, 1.001]}
    assert intended["candidate"]["metrics"]["fid"] == values
    assert intended["policy"]["metric"] == "fid"
    assert (intended["pointer"], intended["replaces"], intended["forced"]) == (pointer, None, False)


def test_better_wins_worse_stays_the_same_is_nothing_and_back(home: QuickHome) -> None:
    first = home.add(MODEL, 1.0)
    promoted(home)
    second = home.add(MODEL, 0.5)
    assert promoted(home).before == first
    log = home.states(MODEL)
    again = promoted(home)
    assert (again.changed, again.champion) == (False, second)
    assert "nothing to do" in again.reasons[0]
    assert home.states(MODEL) == log
    third = home.add(MODEL, 0.7)
    worse = promoted(home)
    assert (worse.changed, worse.champion, worse.version) == (False, second, third)
    assert home.states(MODEL) == [*log, "kept"]
    assert home.tags(MODEL, third)["promotion"].startswith("not promoted")
    back = rolled_back(home, "it is slow")
    assert (back.champion, back.before, back.reasons) == (first, second, ("it is slow",))
    assert home.champion(MODEL) == home.alias(MODEL) == first
    assert home.tags(MODEL, first)["promotion"].startswith("restored by a rollback")
    refused = promoted(home, version=int(second))
    assert "was rolled back" in refused.reasons[0]
    assert home.champion(MODEL) == first
    with pytest.raises(AdaSDEError, match=f"version {first} of adasde-digits-nfe5 is its first champion"):
        rolled_back(home)


def test_back_by_two_and_forward_again(home: QuickHome) -> None:
    versions = []
    for fid in (3.0, 2.0, 1.0):
        versions.append(home.add(MODEL, fid))
        promoted(home)
    assert [rolled_back(home).champion, rolled_back(home).champion] == [versions[1], versions[0]]
    assert (
        promoted(home, version=int(versions[2]), force=True, reason="good after all").champion == versions[2]
    )
    assert rolled_back(home).champion == versions[0]


def test_force_promotes_for_a_reason(home: QuickHome) -> None:
    home.add(MODEL, 1.0)
    promoted(home)
    worse = home.add(MODEL, 2.0)
    outcome = promoted(home, force=True, reason="the other has a bug")
    assert outcome.reasons[0] == "forced: the other has a bug"
    assert "worse by 1" in outcome.reasons[1]
    assert home.champion(MODEL) == worse
    assert home.audit(MODEL).entries()[-2]["forced"] is True


def test_a_dry_run_writes_nothing(home: QuickHome) -> None:
    first = home.add(MODEL, 1.0)
    outcome = promoted(home, dry_run=True)
    assert (outcome.changed, outcome.champion) == (True, None)
    assert f"version {first} would be champion now" in outcome.headline
    assert not (home.root / "store").exists()
    assert home.alias(MODEL) is None
    assert "promotion" not in home.tags(MODEL, first)


def test_an_alias_that_differs_from_the_pointer_is_put_right(home: QuickHome) -> None:
    first = home.add(MODEL, 1.0)
    promoted(home)
    second = home.add(MODEL, 2.0)
    home.client.set_registered_model_alias("adasde-digits-nfe5", "champion", second)
    note = f"the alias champion in MLflow was at version {second}; it is at version {first} now"
    assert promoted(home).notes == (note,)
    assert home.alias(MODEL) == first


def test_a_champion_that_mlflow_has_lost_stays_champion(home: QuickHome) -> None:
    first = home.add(MODEL, 1.0)
    promoted(home)
    home.add(MODEL, 0.5)
    promoted(home)
    home.client.delete_model_version("adasde-digits-nfe5", first)
    assert rolled_back(home).champion == home.champion(MODEL) == first
    assert home.alias(MODEL) is None
    third = home.add(MODEL, 2.0)
    outcome = promoted(home)
    assert "MLflow has lost it" in outcome.notes[0]
    assert (outcome.version, outcome.champion) == (third, first)


def test_other_protocols_are_measured_again_and_that_is_kept(
    home: QuickHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.add(MODEL, 1.0, protocol="a" * 64)
    promoted(home)
    better = home.add(MODEL, 2.0, protocol="b" * 64)
    measured = []

    class Fake:
        protocol = "c" * 64

        def measure(self, coefficients: bytes) -> dict[str, Any]:
            measured.append(json.loads(coefficients)["mark"])
            return metrics(0.9 if measured[-1] == 1.0 else 0.5, protocol=self.protocol)

    monkeypatch.setattr(service.ReEvaluation, "load", lambda *_: Fake())
    before = files(home.root / "store")
    assert promoted(home, dry_run=True).changed
    assert measured == [2.0, 1.0]
    assert files(home.root / "store") == before
    outcome = promoted(home)
    assert measured == [2.0, 1.0] * 2
    assert outcome.champion == home.champion(MODEL) == better
    assert "fid 0.5 ± 0.001 against 0.9" in outcome.reasons[0]
    pointer = home.champions(MODEL).read()
    assert pointer is not None
    bundle = home.champions(MODEL).verify(pointer.bundle)
    assert json.loads(bundle["metrics.json"])["protocol_hash"] == "c" * 64
    home.add(MODEL, 3.0, protocol="b" * 64)
    promoted(home)
    promoted(home)
    assert measured == [2.0, 1.0] * 2 + [3.0]  # the second time it is known, as is the champion's


def test_another_protocol_where_nothing_can_be_measured(home: QuickHome) -> None:
    first = home.add(MODEL, 1.0)
    promoted(home)
    home.add(MODEL, 0.5, protocol="a" * 64)
    with pytest.raises(
        AdaSDEError, match=r"different protocols, .*cannot be done here: .*'adasde run'.*again"
    ):
        promoted(home)
    assert home.champion(MODEL) == first
    forced = promoted(home, force=True, reason="the files are elsewhere")
    assert forced.changed
    assert "measured under another protocol (aaaaaaaaaaaa…) than the champion" in forced.reasons[1]


def test_other_weights_are_not_compared(home: QuickHome) -> None:
    home.add(MODEL, 1.0)
    promoted(home)
    home.add(MODEL, 0.1, weights="1" * 64, protocol="a" * 64)
    outcome = promoted(home)
    assert not outcome.changed
    assert "distilled for other weights" in outcome.reasons[0]
    assert promoted(home, force=True, reason="new weights").changed


def test_numbers_that_are_not_finite(home: QuickHome) -> None:
    home.add(MODEL, float("nan"))
    assert "its fid is not finite" in promoted(home).reasons[0]
    assert home.audit(MODEL).entries()[0]["candidate"]["metrics"]["fid"]["mean"] == "nan"


def test_a_store_that_has_lost_the_champion(
    home: QuickHome, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    version = home.add(MODEL, 1.0)
    promoted(home)
    monkeypatch.setenv("ADASDE_STORAGE_URL", str(tmp_path / "another store"))
    words = f"says that version {version} .* is champion, but there is no .*storage.url"
    with pytest.raises(AdaSDEError, match=words):
        promoted(home)
    with pytest.raises(AdaSDEError, match=r"has no champion: there is no .*another store"):
        rolled_back(home)
    assert home.alias(MODEL) == version
    assert promoted(home, force=True, reason="begin anew").changed
    monkeypatch.delenv("ADASDE_STORAGE_URL")
    assert home.champion(MODEL) == version


def test_a_damaged_bundle(home: QuickHome) -> None:
    first = home.add(MODEL, 1.0)
    promoted(home)
    second = home.add(MODEL, 0.5)
    promoted(home)
    champions = home.champions(MODEL)
    pointer = champions.read()
    assert pointer is not None
    home.add(MODEL, 0.4)
    champions.store.delete(f"{champions.folder}/{pointer.bundle}")
    with pytest.raises(
        AdaSDEError, match=f"the champion, version {second} .*, is damaged: .*'adasde rollback'"
    ):
        promoted(home)
    rolled_back(home)
    assert home.champion(MODEL) == first
    champions.store.delete(f"{champions.folder}/{pointer.previous[0].bundle}")
    assert promoted(home, force=True, reason="repair it").changed
    with pytest.raises(
        StoreError, match=f"version {first} .* cannot be champion again: .* Nothing was changed"
    ):
        rolled_back(home)


@pytest.mark.parametrize("action", [promoted, rolled_back])
def test_a_store_that_cannot_be_reached(
    home: QuickHome, monkeypatch: pytest.MonkeyPatch, action: Any
) -> None:
    from adasde.storage.s3 import Patience, S3Store

    home.add(MODEL, 1.0)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    patience = Patience(attempts=1, connect=1.0)
    with monkeypatch.context() as patch:
        patch.setattr(transaction, "open_store", lambda project: S3Store("s3://bucket/x", patience=patience))
        with pytest.raises(StoreError) as error:
            action(home)
    assert error.value.kind == "unreachable"
    assert "\n" not in str(error.value)
    assert home.alias(MODEL) is None
    assert promoted(home).changed
