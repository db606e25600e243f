"""Files by HTTP: complete or not at all, resumed where they stopped, from the first mirror that has them."""

from __future__ import annotations

import email.utils
import os
import re
import ssl
import time
from collections.abc import Sequence
from contextlib import ExitStack
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, build_opener

from adasde.errors import StoreError
from adasde.storage.base import CHUNK, Patience, checked_key
from adasde.storage.errors import KINDS, altered, explained
from adasde.storage.partial_download import Origin, PartialFile
from adasde.utils.progress import Advance, track

PATIENCE = Patience(attempts=5, read=30.0)
"""Attempts are requests in a row that bring nothing; connecting has the same timeout as reading."""

LONGEST_WAIT = 120.0
"""Seconds of the longest pause that a server may ask for."""

REMEDIES = {
    "tls": "If a private authority signed its certificate, set SSL_CERT_FILE to the file of that authority",
    "unreachable": "Check the address and the network",
}
"""Kind -> what to do if there was no answer."""

SAFE = "%/:?&=@!$'()*+,;~[]"
"""Characters of an address that stay as they are; others, such as spaces, are written as %20."""

OFFLINE = ("ADASDE_OFFLINE", "HF_HUB_OFFLINE")
"""Setting either of these variables (to anything but 0) disables network access."""


class Transient(StoreError):
    """A failure worth another attempt, after ``wait`` seconds if the server asked for them."""

    wait: float | None = None


def offline_by() -> str | None:
    """The variable that disables network access; None: it is enabled."""
    return next((name for name in OFFLINE if os.environ.get(name, "0") not in ("", "0")), None)


def require_online(url: str) -> None:
    """Refuse ``url`` if network access is disabled (StoreError)."""
    if named := offline_by():
        raise StoreError(
            f"{url} is not on this machine, and the network may not be used ({named} is set, or --offline "
            "was given). Fetch it where there is a network, or name a copy of it with file:///path.",
            kind="unreachable",
        )


def download(
    url: str,
    folder: Path,
    *,
    sha256: str | None = None,
    mirrors: Sequence[str] = (),
    progress: Advance | None = None,
    show: str = "",
) -> Path:
    """Download ``url`` into ``folder``, named by the last part of its path; returns the file.

    ``sha256``, or that of ``url#sha256=HEX``, is verified. ``mirrors`` are tried in turn if ``url`` fails. An
    interrupted attempt, of this process or another, is resumed. Progress is reported to ``progress``, or
    shown under the name ``show``. HTTPS_PROXY and HTTP_PROXY are respected; SSL_CERT_FILE names private
    authorities.

    Raises:
        StoreError: unreachable, missing, cut short, or not the expected content; the disk is too small, or
            network access is disabled.
    """
    address, _, fragment = url.partition("#")
    if sha256 is None and fragment.startswith("sha256="):
        sha256 = fragment.removeprefix("sha256=")
    target = folder / checked_key(unquote(urlsplit(quote(address, safe=SAFE)).path.rpartition("/")[2]))
    require_online(address)
    failures: list[StoreError] = []
    for place in (address, *mirrors):
        try:
            with explained(f"get {url}"):
                _Transfer(quote(place, safe=SAFE), sha256 or "", progress, show).run(target)
            return target
        except StoreError as error:
            if error.kind == "space":
                raise
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    raise StoreError(" ".join(str(error) for error in failures), kind=failures[0].kind) from failures[-1]


class _Transfer:
    """One file from one address."""

    def __init__(self, url: str, sha256: str, progress: Advance | None, show: str) -> None:
        self.url, self.sha256, self.progress, self.show = url, sha256, progress, show
        self.stack = ExitStack()

    def run(self, target: Path) -> None:
        """Download it to ``target``, in as many attempts as make progress."""
        with self.stack, PartialFile(target, self._report) as self.part:
            self.part.resume(self.url, sha256=self.sha256)
            resumed = self.part.size > 0
            self._receive_all()
            if resumed and self.sha256 not in ("", self.part.content.sha256):
                self.part.begin(Origin(self.url, sha256=self.sha256))
                self._receive_all()
            found = self.part.content.sha256
            if self.sha256 not in ("", found):
                self.part.discard()
                raise altered(self.url, found, self.sha256)
            self.part.finish()

    def _receive_all(self) -> None:
        failed = 0
        while self.part.size != self.part.origin.length:
            before = self.part.size
            try:
                self._request()
                return
            except Transient as error:
                failed = 1 if self.part.size > before > 0 else failed + 1
                if failed == PATIENCE.attempts:
                    raise
                PATIENCE.pause(failed - 1, error.wait)

    def _request(self) -> None:
        """One request for the missing bytes."""
        part = self.part
        if part.size and not part.origin.can_resume:
            part.begin(Origin(self.url))
        headers = {"Range": f"bytes={part.size}-"} if part.size else {}
        if part.size and part.origin.validator:
            headers["If-Range"] = part.origin.validator
        try:
            with build_opener().open(Request(self.url, headers=headers), timeout=PATIENCE.read) as answer:
                self._receive(answer)
        except HTTPError as error:
            if error.code == 416 and part.size:
                part.begin(Origin(self.url, sha256=self.sha256))
                raise Transient(f"cannot get {self.url}: it has changed on the server.") from error
            raise _failure(self.url, error) from error
        except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
            raise _failure(self.url, error) from error

    def _receive(self, answer: HTTPResponse) -> None:
        part = self.part
        first, length = _content_range(answer)
        wanted = answer.status == 206 and first == part.size
        if not wanted or length is None or part.origin.length not in (None, length):
            part.begin(Origin(self.url, _validator(answer), answer.length, self.sha256))
            if answer.status == 206 and first != 0:
                raise ConnectionResetError("the server answers with another part than was requested")
        part.require_space()
        if not part.size:
            self._report(0)
        while chunk := answer.read1(CHUNK):
            part.content.write(chunk)
        if part.origin.length is not None and part.size < part.origin.length:
            raise ConnectionResetError(f"{part.size} of {part.origin.length} bytes came")

    def _report(self, units: int = 1, /, note: str = "") -> None:
        if self.progress is None and self.show:
            self.progress = self.stack.enter_context(track(self.part.origin.length or 0, self.show, "bytes"))
        if self.progress is not None and units:
            self.progress(units)


def _validator(answer: HTTPResponse) -> str:
    """Identifier of this version of the content: a strong ETag, or the date of its last change."""
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")


def _content_range(answer: HTTPResponse) -> tuple[int | None, int | None]:
    """Offset of a partial answer and bytes of the complete file; None: unknown."""
    found = re.match(r"bytes (\d+)-(?:\d+/(\d+)$)?", answer.headers.get("Content-Range", ""))
    return (int(found[1]), int(found[2]) if found[2] else None) if found else (None, None)


def _failure(url: str, error: Exception) -> StoreError:
    """The error for a request that failed."""
    wait = None
    if isinstance(error, HTTPError):
        kind = KINDS.get(str(error.code), "other")
        why = f"the server answers {error.code} ({error.reason})"
        wait = _seconds(error.headers.get("Retry-After", ""))
    else:
        reason = getattr(error, "reason", error)
        kind = "tls" if isinstance(reason, ssl.SSLError) else "unreachable"
        why = f"the server cannot be reached ({reason})"
    remedy = REMEDIES.get(kind, "Check the address, and that it may be read without logging in")
    message = f"cannot get {url}: {why}. {remedy}, then run the same command again."
    if kind not in ("unreachable", "server"):
        return StoreError(message, kind=kind)
    failure = Transient(message, kind=kind)
    failure.wait = wait
    return failure


def _seconds(retry_after: str) -> float | None:
    """Seconds to wait by the header Retry-After, a number or a date; None: it is neither."""
    if retry_after.strip().isdigit():
        return min(float(retry_after), LONGEST_WAIT)
    try:
        until = email.utils.parsedate_to_datetime(retry_after).timestamp()
    except ValueError:
        return None
    return min(max(until - time.time(), 0.0), LONGEST_WAIT)
