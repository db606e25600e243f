"""Files by HTTP: whole or not at all, carried on where they stopped, from the first place that has them."""

from __future__ import annotations

import email.utils
import os
import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote, unquote, urlsplit

from adasde.errors import StoreError
from adasde.storage.base import CHUNK, altered, checked_key, of_this_machine
from adasde.storage.partial_download import Origin, Part
from adasde.utils.progress import Advance, track

if TYPE_CHECKING:
    from http.client import HTTPResponse

ATTEMPTS = 5
"""Requests in a row that bring nothing; the pauses between them are 0.5, 1, 2 and 4 seconds."""

TIMEOUT = 30.0
"""Seconds without an answer."""

LONGEST_WAIT = 120.0
"""Seconds of the longest pause that a server may ask for."""

PASSING = (408, 425, 429, 500, 502, 503, 504)
"""HTTP statuses that may be gone a moment later."""

MEANT = "%/:?&=@!$'()*+,;~[]"
"""Characters of an address that stay as they are; others, spaces for instance, are written as %20."""

OFFLINE = ("ADASDE_OFFLINE", "HF_HUB_OFFLINE")
"""Variables of which one that is set to anything but 0 forbids the network."""


class Passing(StoreError):
    """What may be gone a moment later: ``wait`` seconds, if the server says how many."""

    wait: float | None = None


def offline_by() -> str | None:
    """The variable that forbids the network; None: it may be used."""
    return next((name for name in OFFLINE if os.environ.get(name, "0") not in ("", "0")), None)


def require_online(url: str) -> None:
    """Refuse ``url`` where the network may not be used (StoreError)."""
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
    """Copy what ``url`` answers into ``folder``, under the last name of its path; returns the file.

    ``sha256``, or that of ``url#sha256=HEX``, is verified while it comes. ``mirrors`` are tried in turn where
    ``url`` fails. An attempt that was interrupted, in this process or in another, is carried on. Progress
    is told to ``progress``, or shown under the name ``show``. HTTPS_PROXY and HTTP_PROXY are respected;
    SSL_CERT_FILE names authorities of one's own.

    Raises:
        StoreError: it cannot be reached, is not there, was cut short, or is not the content that was meant;
            the disk is too small, or the network may not be used.
    """
    address, _, fragment = url.partition("#")
    if sha256 is None and fragment.startswith("sha256="):
        sha256 = fragment.removeprefix("sha256=")
    target = folder / checked_key(unquote(urlsplit(quote(address, safe=MEANT)).path.rpartition("/")[2]))
    require_online(address)
    failures: list[StoreError] = []
    for place in (address, *mirrors):
        transfer = _Transfer(quote(place, safe=MEANT), sha256 or "", progress, show)
        try:
            transfer.run(target)
            return target
        except StoreError as error:
            if error.kind == "space":
                raise
            failures.append(error)
        except OSError as error:
            raise of_this_machine(error, f"get {url}") from error
    if len(failures) == 1:
        raise failures[0]
    raise StoreError(" ".join(str(error) for error in failures), kind=failures[0].kind) from failures[-1]


class _Transfer:
    """One file from one address."""

    def __init__(self, url: str, sha256: str, progress: Advance | None, show: str) -> None:
        self.url, self.sha256, self.progress, self.show = url, sha256, progress, show
        self.stack = ExitStack()

    def run(self, target: Path) -> None:
        """Bring it to ``target``, with as many attempts as bring something."""
        with self.stack, Part(target) as part:
            part.carry_on(self.url, sha256=self.sha256)
            resumed = part.size
            self._attempts(part)
            found = part.digest.hexdigest()
            if self.sha256 and found != self.sha256 and resumed:
                self._restart(part, Origin(self.url, sha256=self.sha256))
                self._attempts(part)
                found = part.digest.hexdigest()
            if self.sha256 and found != self.sha256:
                part.discard()
                raise altered(self.url, found, self.sha256)
            part.finish()

    def _attempts(self, part: Part) -> None:
        failed, told = 0, part.size
        if told:
            self._tell(part, told)
        while part.origin.length is None or part.size != part.origin.length:
            before = part.size
            try:
                self._once(part)
                return
            except Passing as error:
                failed = 1 if part.size > before > 0 else failed + 1
                if failed == ATTEMPTS:
                    raise
                time.sleep(0.5 * 2 ** (failed - 1) if error.wait is None else error.wait)

    def _once(self, part: Part) -> None:
        """One request for what is missing."""
        from http.client import HTTPException
        from urllib.error import HTTPError, URLError
        from urllib.request import Request, build_opener

        if part.size and not part.origin.can_resume:
            self._restart(part, Origin(self.url))
        headers = {"Range": f"bytes={part.size}-"} if part.size else {}
        if part.size and part.origin.validator:
            headers["If-Range"] = part.origin.validator
        try:
            with build_opener().open(Request(self.url, headers=headers), timeout=TIMEOUT) as answer:
                self._receive(answer, part)
        except HTTPError as error:
            if error.code == 416 and part.size:
                self._restart(part, Origin(self.url, sha256=self.sha256))
                raise Passing(f"cannot get {self.url}: it has changed on the server.") from error
            _refuse(self.url, error)
        except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
            _refuse(self.url, error)

    def _receive(self, answer: HTTPResponse, part: Part) -> None:
        length = _length(answer, part.size)
        if answer.status != 206 or length is None or part.origin.length not in (None, length):
            began = answer.status == 206 and _first(answer) != 0
            self._restart(part, Origin(self.url, _validator(answer), answer.length, self.sha256))
            if began:
                raise ConnectionResetError("the server answers with another part than was asked for")
        part.require_space()
        if not part.size:
            self._tell(part, 0)
        while chunk := answer.read1(CHUNK):
            part.add(chunk)
            self._tell(part, len(chunk))
        if part.origin.length is not None and part.size < part.origin.length:
            raise ConnectionResetError(f"{part.size} of {part.origin.length} bytes came")

    def _restart(self, part: Part, origin: Origin) -> None:
        if part.size:
            self._tell(part, -part.size)
        part.begin(origin)

    def _tell(self, part: Part, size: int) -> None:
        if self.progress is None and self.show:
            self.progress = self.stack.enter_context(track(part.origin.length or 0, self.show, "bytes"))
        if self.progress is not None and size:
            self.progress(size)


def _validator(answer: HTTPResponse) -> str:
    """What names this version of the content: a strong ETag, or the date of its last change."""
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")


def _first(answer: HTTPResponse) -> int | None:
    """The place of the first byte of a part."""
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _length(answer: HTTPResponse, offset: int) -> int | None:
    """Bytes of the whole, of which a part from ``offset`` on is answered; None: it is another part."""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", ""))
    return int(found[3]) if found and int(found[1]) == offset else None


def _refuse(url: str, error: Exception) -> NoReturn:
    """Say what a failed request means."""
    import ssl
    from urllib.error import HTTPError

    if isinstance(error, HTTPError):
        kind = {404: "missing", 410: "missing", 401: "credentials", 403: "denied"}.get(error.code, "other")
        kind = "server" if error.code in PASSING else kind
        why = f"the server answers {error.code} ({error.reason})"
        remedy = "Check the address, and that it may be read without logging in"
    else:
        reason = getattr(error, "reason", error)
        kind = "tls" if isinstance(reason, ssl.SSLError) else "unreachable"
        why = f"the server cannot be reached ({reason})"
        remedy = (
            "If its certificate is signed by an authority of your own, name that authority's file in "
            "SSL_CERT_FILE"
            if kind == "tls"
            else "Check the address and the network"
        )
    passes = kind in ("unreachable", "server")
    failure = (Passing if passes else StoreError)(
        f"cannot get {url}: {why}. {remedy}, then run the same again.", kind=kind
    )
    if isinstance(failure, Passing) and isinstance(error, HTTPError):
        failure.wait = _wait(error.headers.get("Retry-After", ""))
    raise failure from error


def _wait(said: str) -> float | None:
    """Seconds that a server asks to wait, a number or a date; None: it does not say."""
    if said.strip().isdigit():
        return min(float(said), LONGEST_WAIT)
    try:
        until = email.utils.parsedate_to_datetime(said).timestamp()
    except ValueError:
        return None
    return min(max(until - time.time(), 0.0), LONGEST_WAIT)
