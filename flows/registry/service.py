"""Promotion and rollback: from the question to what was decided, written and said."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from adasde.errors import AdaSDEError, DataError, StoreError
from flows.registry.audit import author, new_decision, now
from flows.registry.candidates import Contender, published, registered
from flows.registry.champion_store import Pointer, Promoted
from flows.registry.outcome import Outcome
from flows.registry.policy import comparable, decide, other_weights, same
from flows.registry.re_evaluate import ReEvaluation
from flows.registry.transaction import Settled, Transaction, move, open_transaction, settle, tell_version
from flows.tracking import versions
from flows.tracking.client import experiment_id


@dataclass(frozen=True)
class Asked:
    """What a promotion was asked for: which version (None: the challenger), and how.

    Attributes:
        force: promote whatever the policy says, for the ``reason`` that is given.
    """

    version: int | None = None
    dry_run: bool = False
    force: bool = False
    reason: str = ""


Rivals = tuple[Contender, Contender | None]
"""A candidate, and the champion if there is one."""


def promote(project: Path, model: str, nfe: int, asked: Asked = Asked()) -> Outcome:
    """Make a registered version champion if it wins by the policy of params.yaml.

    Raises:
        AdaSDEError: it cannot be decided or not be written; says why. The champion is the old one or the
            new one, whole, and the same again carries on.
    """
    with open_transaction(project, model, nfe) as desk:
        settled = Settled(desk.champions.read()) if asked.dry_run else settle(desk)
        candidate = _candidate(desk, asked, settled.pointer)
        champion = _champion(desk, asked, settled.pointer)
        rivals = _fairly_measured(desk, asked, candidate, champion)
        outcome = _carry_out(desk, asked, settled.pointer, rivals)
        return replace(outcome, notes=settled.notes)


def rollback(project: Path, model: str, nfe: int, *, reason: str = "") -> Outcome:
    """Return to the champion before the present one; a rollback that was interrupted is only completed.

    Raises:
        AdaSDEError: there is none, or it is not whole any more; nothing was changed.
    """
    with open_transaction(project, model, nfe) as desk:
        settled = settle(desk)
        before = settled.pointer
        if before is None:
            raise AdaSDEError(f"{desk.name} has no champion: there is no {desk.champions.address}.")
        after = before
        reasons = (reason or "asked for",)
        if "rollback" not in settled.completed:
            after = _back(desk, before)
            record = {"action": "rollback", "version": after.champion.version, "reasons": reasons}
            move(desk, before, after, record)
        version = after.champion.version
        return Outcome(
            action="rollback",
            name=desk.name,
            version=version,
            changed=True,
            champion=version,
            before=before.champion.version,
            reasons=reasons,
            notes=settled.notes,
            pointer=desk.champions.address,
        )


def _back(desk: Transaction, before: Pointer) -> Pointer:
    """The pointer to the champion before, whose bundle is whole."""
    if not before.previous:
        raise AdaSDEError(
            f"version {before.champion.version} of {desk.name} is its first champion: there is none to "
            "return to."
        )
    after = before.rolled_back(new_decision(), at=now(), by=author())
    try:
        desk.champions.verify(after.champion.bundle)
    except StoreError as error:
        raise StoreError(
            f"version {after.champion.version} of {desk.name} cannot be champion again: {error} Nothing was "
            "changed.",
            kind=error.kind,
        ) from error
    return after


def _candidate(desk: Transaction, asked: Asked, pointer: Pointer | None) -> Contender:
    version = versions.find_candidate(desk.client, desk.name, asked.version)
    if version.run_id:  # its files are found also after the project has moved
        experiment_id(desk.client, f"adasde-{desk.model}", project=desk.project)
    found = registered(desk.client, version, desk.nfe)
    rejected = pointer is not None and found.about.sha256 in pointer.rejected
    return replace(found, about=replace(found.about, rejected=rejected))


def _champion(desk: Transaction, asked: Asked, pointer: Pointer | None) -> Contender | None:
    if pointer is None:
        known = versions.alias_of(desk.client, desk.name, versions.CHAMPION)
        if known and not asked.force:
            raise AdaSDEError(
                f"MLflow says that version {known} of {desk.name} is champion, but there is no "
                f"{desk.champions.address}. Check storage.url in params.yaml and ADASDE_STORAGE_URL; if this "
                "store is to begin anew, use --force --reason."
            )
        return None
    try:
        return published(desk.champions, pointer.champion)
    except AdaSDEError as error:
        if isinstance(error, StoreError) and error.kind not in ("missing", "checksum"):
            raise
        if asked.force:
            return None
        raise AdaSDEError(
            f"the champion, version {pointer.champion.version} of {desk.name}, is damaged: {error} 'adasde "
            "rollback' returns to the one before, --force --reason promotes without a comparison."
        ) from error


def _fairly_measured(
    desk: Transaction, asked: Asked, candidate: Contender, champion: Contender | None
) -> Rivals:
    """Both under one protocol: measured again under the present one, where theirs are different."""
    if champion is None or same(candidate.about, champion.about):
        return candidate, champion
    if comparable(candidate.about, champion.about) or other_weights(candidate.about, champion.about):
        return candidate, champion
    try:
        referee = ReEvaluation.load(desk.project, desk.params, desk.model, desk.nfe)
    except DataError:
        if asked.force:  # it is promoted without a comparison, and the record says so
            return candidate, champion
        raise
    keep = not asked.dry_run
    return (
        _under(referee, desk, candidate, keep=keep),
        _under(referee, desk, champion, keep=keep),
    )


def _under(referee: ReEvaluation, desk: Transaction, contender: Contender, *, keep: bool) -> Contender:
    """The contender with numbers of the referee's protocol; those that are known are not made again."""
    about = contender.about
    if about.protocol == referee.protocol:
        return contender
    known = desk.champions.evaluation(referee.protocol, about.sha256)
    if known is None:
        known = referee.measure(contender.coefficients)
        if keep:
            desk.champions.keep_evaluation(referee.protocol, about.sha256, known)
    return contender.measured_again(known)


def _carry_out(desk: Transaction, asked: Asked, pointer: Pointer | None, rivals: Rivals) -> Outcome:
    """Decide, and write what was decided, unless it is a dry run or there is nothing to do."""
    candidate, champion = rivals
    decision = decide(candidate.about, champion.about if champion else None, desk.params.promotion)
    identical = champion is not None and same(candidate.about, champion.about)
    forced = asked.force and not decision.promote and not identical
    changed = decision.promote or forced
    given = (f"{'forced: ' if forced else ''}{asked.reason}",) if asked.reason else ()
    reasons = (*given, *decision.reasons)
    if not asked.dry_run and not identical:
        record = _record(desk, rivals, reasons) | {"forced": forced}
        if changed:
            move(desk, pointer, _next(desk, pointer, candidate), record)
        else:
            tell_version(desk, desk.audit.append(new_decision(), "kept", record), "not promoted")
    version, was = candidate.about.version, pointer.champion.version if pointer else None
    return Outcome(
        action="promote",
        name=desk.name,
        version=version,
        changed=changed,
        champion=version if changed and not asked.dry_run else was,
        before=was,
        reasons=reasons,
        pointer=desk.champions.address,
        dry_run=asked.dry_run,
    )


def _record(desk: Transaction, rivals: Rivals, reasons: tuple[str, ...]) -> dict[str, Any]:
    """What the audit log says of a promotion."""
    candidate, champion = rivals
    return {
        "action": "promote",
        "version": candidate.about.version,
        "reasons": reasons,
        "policy": desk.params.promotion.model_dump(),
        "candidate": _plain(asdict(candidate.about)),
        "champion": _plain(asdict(champion.about)) if champion else None,
    }


def _next(desk: Transaction, pointer: Pointer | None, candidate: Contender) -> Pointer:
    """The pointer to a candidate, whose bundle is published."""
    bundle, sha256 = desk.champions.publish(candidate.files())
    promoted = Promoted(new_decision(), candidate.about.version, bundle, sha256, now(), author())
    return pointer.promoted(promoted) if pointer else Pointer(desk.name, promoted)


def _plain(value: Any) -> Any:
    """JSON values; numbers that are not finite become text."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
