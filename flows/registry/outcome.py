"""What came of a promotion or a rollback, for people, programs and Prefect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        action: ``promote`` or ``rollback``.
        name: the registered model.
        version: the one that was to become champion.
        changed: it did (with ``dry_run``: it would).
        champion: the version that is champion now; None if there is none.
        before: the version that was.
        reasons: why, in sentences.
        pointer: where those who use the champion find it.
        notes: what was found unfinished and put right on the way.
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
        """What happened, in one sentence."""
        if not self.changed:
            stays = (
                f"version {self.champion} stays champion" if self.champion else "there is still no champion"
            )
            return f"{self.name}: version {self.version} is not promoted, {stays}"
        verb = "would be" if self.dry_run else "is"
        before = f", it was version {self.before}" if self.before not in (None, self.version) else ""
        return f"{self.name}: version {self.version} {verb} champion now{before}"

    def lines(self) -> Iterator[str]:
        """The same with everything behind it."""
        yield self.headline
        yield from (f"  {reason}" for reason in self.reasons)
        yield from (f"note: {note}" for note in self.notes)
        if self.champion and not self.dry_run:
            yield f"use it as {self.pointer} or models:/{self.name}@champion"

    def markdown(self) -> str:
        """The same as a page of Prefect."""
        reasons = "\n".join(f"- {reason}" for reason in self.reasons)
        notes = "".join(f"\n\nNote: {note}." for note in self.notes)
        return f"**{self.headline}**\n\n{reasons}{notes}\n\n`{self.pointer}`"
