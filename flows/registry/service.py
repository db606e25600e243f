"""Promotion and rollback: compare a candidate with the champion, decide, and write the decision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from adasde.errors import AdaSDEError, DataError, StoreError
from flows.registry.audit import author, new_decision, now
from flows.registry.candidates import published, registered, with_metrics
from flows.registry.champion_store import Pointer
from flows.registry.policy import Candidate, comparable, decide, other_weights, same
from flows.registry.re_evaluate import ReEvaluation
from flows.registry.transaction import Transaction, open_transaction
from flows.tracking import versions
from flows.tracking.client import experiment_id
from flows.tracking.resolver import COEFFICIENTS


@dataclass(frozen=True)
class PromotionResult:
    """Result of a promotion or a rollback.

    Attributes:
        action: ``promote`` or ``rollback``.
        name: the registered model.
        version: the candidate, or the version that was rolled back to.
        changed: ``version`` is champion now (with ``dry_run``: it would be).
        champion: the version that is champion now; None if there is none.
        before: the version that was champion.
        reasons: of the decision, in sentences.
        pointer: address of the champion for its users.
        notes: what was interrupted earlier and has been repaired.
        dry_run: nothing was written.
    """

    action: str
    name: str
    version: str
    changed: bool
    champion: str | None
    before: str | None
    reasons: tuple[str, ...]
    pointer: str
    notes: tuple[str, ...] = ()
    dry_run: bool = False

    @property
    def headline(self) -> str:
        """The result in one sentence."""
        if not self.changed:
            stays = (
                f"version {self.champion} stays champion" if self.champion else "there is still no champion"
            )
            return f"{self.name}: version {self.version} is not promoted, {stays}"
        verb = "would be" if self.dry_run else "is"
        before = f", it was version {self.before}" if self.before not in (None, self.version) else ""
        return f"{self.name}: version {self.version} {verb} champion now{before}"

    def lines(self) -> Iterator[str]:
        """Headline, reasons and notes for a terminal."""
        yield self.headline
        yield from (f"  {reason}" for reason in self.reasons)
        yield from (f"note: {note}" for note in self.notes)
        if self.champion and not self.dry_run:
            yield f"use it as {self.pointer} or models:/{self.name}@champion"

    def markdown(self) -> str:
        """Headline, reasons and notes for an artifact of Prefect."""
        reasons = "\n".join(f"- {reason}" for reason in self.reasons)
        notes = "".join(f"\n\nNote: {note}." for note in self.notes)
        return f"**{self.headline}**\n\n{reasons}{notes}\n\n`{self.pointer}`"


def promote(
    project: Path,
    model: str,
    nfe: int,
    *,
    version: int | None = None,
    dry_run: bool = False,
    force: bool = False,
    reason: str = "",
) -> PromotionResult:
    """Make a registered version (default: the challenger) champion if it wins by the policy of params.yaml.

    ``force`` promotes it whatever the policy decides, for the given ``reason``.

    Raises:
        AdaSDEError: the decision cannot be made or written; says why. The champion is the old one or the new
            one, intact, and the same call again resumes.
    """
    with open_transaction(project, model, nfe) as transaction:
        if not dry_run:
            transaction.settle()
        candidate = _candidate(transaction, version)
        champion = _champion(transaction, force=force)
        if champion is not None:
            candidate, champion = _under_one_protocol(
                transaction, candidate, champion, keep=not dry_run, force=force
            )
        return _conclude(transaction, candidate, champion, dry_run=dry_run, force=force, reason=reason)


def rollback(project: Path, model: str, nfe: int, *, reason: str = "") -> PromotionResult:
    """Return to the previous champion; an interrupted rollback is only completed.

    Raises:
        AdaSDEError: there is no previous champion, or it is damaged; nothing was changed.
    """
    with open_transaction(project, model, nfe) as transaction:
        transaction.settle()
        after = transaction.pointer
        if after is None:
            raise AdaSDEError(
                f"{transaction.name} has no champion: there is no {transaction.champions.address}."
            )
        reasons = (reason or "requested",)
        if "rollback" not in transaction.completed:
            after = _previous(transaction, after)
            record = {"action": "rollback", "version": after.version, "reasons": reasons}
            transaction.commit(after, record)
        return _result(transaction, "rollback", after.version, changed=True, reasons=reasons)


def _previous(transaction: Transaction, pointer: Pointer) -> Pointer:
    """The pointer to the previous champion, whose bundle has been verified."""
    if not pointer.previous:
        raise AdaSDEError(
            f"version {pointer.version} of {transaction.name} is its first champion: there is none to "
            "return to."
        )
    after = pointer.rolled_back(new_decision(), at=now(), by=author())
    try:
        transaction.champions.verify(after.bundle)
    except StoreError as error:
        raise StoreError(
            f"version {after.version} of {transaction.name} cannot be champion again: {error} Nothing was "
            "changed.",
            kind=error.kind,
        ) from error
    return after


def _candidate(transaction: Transaction, number: int | None) -> Candidate:
    version = versions.find_candidate(transaction.client, transaction.name, number)
    if version.run_id:  # its files are found also after the project has moved
        experiment_id(transaction.client, f"adasde-{transaction.model}", project=transaction.project)
    candidate = registered(transaction.client, version, transaction.nfe)
    pointer = transaction.pointer
    return replace(candidate, rejected=pointer is not None and candidate.sha256 in pointer.rejected)


def _champion(transaction: Transaction, *, force: bool) -> Candidate | None:
    pointer, name = transaction.pointer, transaction.name
    if pointer is None:
        known = versions.alias_of(transaction.client, name, versions.CHAMPION)
        if known and not force:
            raise AdaSDEError(
                f"MLflow says that version {known} of {name} is champion, but there is no "
                f"{transaction.champions.address}. Check storage.url in params.yaml and ADASDE_STORAGE_URL; "
                "to begin anew in this store, use --force --reason."
            )
        return None
    try:
        return published(transaction.champions, pointer)
    except AdaSDEError as error:
        if isinstance(error, StoreError) and error.kind not in ("missing", "checksum"):
            raise
        if force:
            return None
        raise AdaSDEError(
            f"the champion, version {pointer.version} of {name}, is damaged: {error} 'adasde rollback' "
            "returns to the previous one, --force --reason promotes without a comparison."
        ) from error


def _under_one_protocol(
    transaction: Transaction, candidate: Candidate, champion: Candidate, *, keep: bool, force: bool
) -> tuple[Candidate, Candidate]:
    """Candidate and champion, measured again under the present protocol if theirs differ."""
    both = candidate, champion
    if same(*both) or comparable(*both) or other_weights(*both):
        return both
    try:
        re_evaluation = ReEvaluation.load(
            transaction.project, transaction.params, transaction.model, transaction.nfe
        )
    except DataError:
        if force:  # promoted without a comparison, which its record shows
            return both
        raise
    return (
        _re_evaluate(re_evaluation, transaction, candidate, keep=keep),
        _re_evaluate(re_evaluation, transaction, champion, keep=keep),
    )


def _re_evaluate(
    re_evaluation: ReEvaluation, transaction: Transaction, candidate: Candidate, *, keep: bool
) -> Candidate:
    """The candidate with metrics of the present protocol, which are cached in the store."""
    protocol, sha256 = re_evaluation.protocol, candidate.sha256
    if candidate.protocol == protocol:
        return candidate
    metrics = transaction.champions.evaluation(protocol, sha256)
    if metrics is None:
        metrics = re_evaluation.measure(candidate.files[COEFFICIENTS])
        if keep:
            transaction.champions.keep_evaluation(protocol, sha256, metrics)
    return with_metrics(candidate, metrics)


def _conclude(
    transaction: Transaction,
    candidate: Candidate,
    champion: Candidate | None,
    *,
    dry_run: bool,
    force: bool,
    reason: str,
) -> PromotionResult:
    """Decide, and write the decision, unless it is a dry run or there is nothing to do."""
    policy = transaction.params.promotion
    decision = decide(candidate, champion, policy)
    identical = champion is not None and same(candidate, champion)
    forced = force and not decision.promote and not identical
    given = (f"{'forced: ' if forced else ''}{reason}",) if reason else ()
    reasons = (*given, *decision.reasons)
    if not dry_run and not identical:
        record = {
            "action": "promote",
            "version": candidate.version,
            "reasons": reasons,
            "policy": policy.model_dump(),
            "candidate": candidate.facts(),
            "champion": champion.facts() if champion else None,
            "forced": forced,
        }
        if decision.promote or forced:
            transaction.commit(_publish(transaction, candidate), record)
        else:
            transaction.tag_version(transaction.audit.append(new_decision(), "kept", record), "not promoted")
    changed = decision.promote or forced
    return _result(
        transaction, "promote", candidate.version, changed=changed, reasons=reasons, dry_run=dry_run
    )


def _publish(transaction: Transaction, candidate: Candidate) -> Pointer:
    """The pointer to a candidate, whose bundle is published."""
    bundle, sha256 = transaction.champions.publish(candidate.files)
    name, pointer = transaction.name, transaction.pointer
    champion = Pointer(name, new_decision(), candidate.version, bundle, sha256, now(), author())
    return pointer.succeeded_by(champion) if pointer else champion


def _result(
    transaction: Transaction,
    action: str,
    version: str,
    *,
    changed: bool,
    reasons: tuple[str, ...],
    dry_run: bool = False,
) -> PromotionResult:
    before = transaction.pointer.version if transaction.pointer else None
    return PromotionResult(
        action=action,
        name=transaction.name,
        version=version,
        changed=changed,
        champion=version if changed and not dry_run else before,
        before=before,
        reasons=reasons,
        pointer=transaction.champions.address,
        notes=transaction.notes,
        dry_run=dry_run,
    )
