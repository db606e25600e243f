"""Promotions that end at any step, and several at once: the old or the new champion remains, intact."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from homes import MODEL, Memory, QuickHome, promoted, rolled_back

from adasde.config.params import check_params
from adasde.errors import AdaSDEError, StoreError
from adasde.storage import LocalStore
from flows.registry import service
from flows.registry.audit import GRACE, Audit
from flows.registry.champion_store import Champions, Pointer
from flows.registry.transaction import Transaction
from flows.system.locks import BusyError, project_lock


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> QuickHome:
    return QuickHome(tmp_path / "project", monkeypatch)


class Killed(BaseException):
    """Stands for a process that ends here and now."""


def unreachable() -> StoreError:
    return StoreError("the store is gone.", kind="unreachable")


class Trap:
    """Lets ``writes`` writes of store and registry pass; fails at all others, before or after one is done."""

    NAMES = ("set_registered_model_alias", "set_model_version_tag", "delete_registered_model_alias")

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        writes: int,
        failure: Callable[[], BaseException],
        *,
        late: bool = False,
    ) -> None:
        self.left, self.failure, self.late, self.sprung = writes, failure, late, False
        for owner, name in [(LocalStore, "write"), *((Memory, name) for name in self.NAMES)]:
            patch.setattr(owner, name, self._guarded(getattr(owner, name)))

    def _guarded(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def write(*arguments: Any) -> Any:
            if self.left == 0:
                if self.late and not self.sprung:
                    real(*arguments)
                self.sprung = True
                raise self.failure()
            self.left -= 1
            return real(*arguments)

        return write


FAILURES = pytest.mark.parametrize(
    ("failure", "late"),
    [(Killed, False), (unreachable, False), (unreachable, True)],
    ids=["killed", "lost", "late"],
)


@FAILURES
def test_a_promotion_that_ends_at_any_write(home: QuickHome, failure: Any, late: bool) -> None:
    old, fid, outcomes = home.add(MODEL, 1000.0), 1000.0, set()
    promoted(home)
    for writes in range(50):
        fid /= 1.5
        new = home.add(MODEL, fid)
        with pytest.MonkeyPatch.context() as patch:
            trap = Trap(patch, writes, failure, late=late)
            with suppress(Killed, AdaSDEError):
                promoted(home)
        outcomes.add(home.champion(MODEL))
        assert home.champion(MODEL) in (old, new), writes
        assert promoted(home).champion == home.champion(MODEL) == home.alias(MODEL) == new
        assert home.audit(MODEL).unfinished() == []
        assert home.tags(MODEL, new)["promotion"].startswith("promoted")
        old = new
        if not trap.sprung:
            break
    assert not trap.sprung
    assert writes > 10
    assert {"1", "5", new} <= outcomes  # the old one after early ends, the new one after late ends


@FAILURES
def test_a_rollback_that_ends_at_any_write(home: QuickHome, failure: Any, late: bool) -> None:
    first, fid, outcomes = home.add(MODEL, 1000.0), 1000.0, set()
    promoted(home)
    for writes in range(20):
        before = []
        for _ in range(2):
            fid /= 1.5
            before.append(home.add(MODEL, fid))
            assert promoted(home).changed
        with pytest.MonkeyPatch.context() as patch:
            trap = Trap(patch, writes, failure, late=late)
            with suppress(Killed, AdaSDEError):
                rolled_back(home)
        outcomes.add(before.index(str(home.champion(MODEL))))
        if not trap.sprung:
            break
        if home.audit(MODEL).unfinished() or home.champion(MODEL) != before[0]:
            rolled_back(home)
        assert home.champion(MODEL) == home.alias(MODEL) == before[0], writes
        assert home.audit(MODEL).unfinished() == []
    assert not trap.sprung
    assert writes > 5
    assert outcomes == {0, 1}
    assert first != home.champion(MODEL)


def test_the_record_fails_after_the_champion_has_changed(home: QuickHome) -> None:
    version = home.add(MODEL, 1.0)
    words = f"version {version} of .* is champion, .*only the record of it failed: the store is gone"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(AdaSDEError, match=words):
        Trap(patch, 6, unreachable)
        promoted(home)
    assert home.champion(MODEL) == version
    assert any("is complete now" in note for note in promoted(home).notes)
    assert home.alias(MODEL) == version


def test_two_on_this_machine(home: QuickHome) -> None:
    home.add(MODEL, 1.0)
    busy = "another promotion or rollback is under way"
    with project_lock(home.root, "promotion"), pytest.raises(BusyError, match=busy):
        promoted(home)
    assert promoted(home).changed


def test_two_on_two_machines(home: QuickHome, monkeypatch: pytest.MonkeyPatch) -> None:
    home.add(MODEL, 1.0)
    elsewhere = {"host": "elsewhere", "by": "somebody@elsewhere"}
    home.audit(MODEL).append("theirs", "intended", {"action": "promote", "version": "1"} | elsewhere)
    words = r"somebody@elsewhere is changing the champion .* too .*withdrawn.*Run the same again"
    with pytest.raises(AdaSDEError, match=words):
        promoted(home)
    assert home.champion(MODEL) is None
    assert home.states(MODEL) == ["intended", "intended", "withdrawn"]
    monkeypatch.setattr("flows.registry.audit.GRACE", GRACE * 0)
    outcome = promoted(home)
    assert "was interrupted and had changed nothing" in outcome.notes[0]
    assert home.states(MODEL)[3:] == ["abandoned", "intended", "done"]
    assert outcome.changed


def theirs(pointer: Pointer) -> Pointer:
    """Pointer that another machine writes next."""
    return pointer.succeeded_by(replace(pointer, decision="theirs", version="9", by="them@elsewhere"))


def test_a_champion_that_changed_since_the_decision(home: QuickHome, monkeypatch: pytest.MonkeyPatch) -> None:
    first = home.add(MODEL, 1.0)
    promoted(home)
    second = home.add(MODEL, 0.5)
    champions, real = home.champions(MODEL), service.decide

    def decide(*arguments: Any) -> Any:
        champions.point(theirs(champions.read()))  # type: ignore[arg-type]
        return real(*arguments)

    monkeypatch.setattr(service, "decide", decide)
    words = r"version 9 of .* was promoted meanwhile by them@elsewhere.*Run the same again"
    with pytest.raises(AdaSDEError, match=words):
        promoted(home)
    found = champions.read()
    assert found is not None
    assert (found.version, found.previous[0].version) == ("9", first)
    assert home.states(MODEL)[-1] == "withdrawn"
    monkeypatch.setattr(service, "decide", real)
    assert promoted(home).champion == second


def test_a_champion_that_is_replaced_at_once(home: QuickHome, monkeypatch: pytest.MonkeyPatch) -> None:
    home.add(MODEL, 1.0)
    real = Champions.point

    def point(self: Champions, pointer: Pointer) -> None:
        real(self, pointer)
        real(self, theirs(pointer))

    monkeypatch.setattr(Champions, "point", point)
    with pytest.raises(AdaSDEError, match="version 9 of adasde-digits-nfe5 was promoted meanwhile"):
        promoted(home)
    assert home.alias(MODEL) is None


def test_many_at_once_in_several_projects(home: QuickHome, tmp_path: Path) -> None:
    first = home.add(MODEL, 1.0)
    promoted(home)
    params = check_params({"model": MODEL, "nfe": [5]})
    champions = home.champions(MODEL)
    before = champions.read()
    assert before is not None
    for attempt in range(20):
        start, moved = threading.Barrier(3), []

        def work(name: str) -> None:
            audit = Audit(champions.store, f"{champions.folder}/audit", tmp_path / name)
            one = Transaction(tmp_path / name, params, MODEL, 5, home.client, champions, audit, before)  # noqa: B023
            after = before.succeeded_by(replace(before, decision=f"{attempt}{name}"))  # noqa: B023
            start.wait()  # noqa: B023
            with suppress(AdaSDEError):
                one.commit(after, {"action": "promote", "version": first, "reasons": ()})
                moved.append(after)  # noqa: B023

        threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(moved) <= 1
        assert champions.read() == (moved[0] if moved else before)
        assert home.champion(MODEL) == first
        assert home.audit(MODEL).unfinished() == []
        before = champions.read()
        assert before is not None
