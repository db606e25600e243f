"""Files by HTTP: whole or not at all, again where that may help."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote, unquote, urlsplit

from adasde.errors import DataError, StoreError
from adasde.files import atomic
from adasde.progress import Advance
from adasde.store.base import CHUNK, checked_key, of_this_machine, require

if TYPE_CHECKING:
    from http.client import HTTPResponse

ATTEMPTS = 5
"""Requests in all; the pauses between them are 0.5, 1, 2 and 4 seconds."""

TIMEOUT = 30.0
"""Seconds without an answer."""

PASSING = (408, 425, 429, 500, 502, 503, 504)
"""HTTP statuses that may be gone a moment later."""

MEANT = "%/:?&=@!$'()*+,;~[]"
"""Characters of an address that stay as they are; others, spaces for instance, are written as %20."""


def download(url: str, folder: Path, *, sha256: str | None = None, progress: Advance | None = None) -> Path:
    """Copy what ``url`` answers into ``folder``, under the last name of its path; returns the file.

    ``sha256``, or that of ``url#sha256=HEX``, is verified. SSL_CERT_FILE names authorities of one's own.

    Raises:
        StoreError: it cannot be reached, is not there, was cut short, or is not the content that was meant.
    """
    address, _, fragment = url.partition("#")
    address = quote(address, safe=MEANT)
    name = unquote(urlsplit(address).path.rpartition("/")[2])
    target = folder / checked_key(name)
    if sha256 is None and fragment.startswith("sha256="):
        sha256 = fragment.removeprefix("sha256=")
    for attempt in range(ATTEMPTS):
        try:
            _once(address, target, sha256, progress)
            return target
        except StoreError as error:
            if error.kind not in ("unreachable", "server") or attempt + 1 == ATTEMPTS:
                raise
            time.sleep(0.5 * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _once(url: str, target: Path, sha256: str | None, progress: Advance | None) -> None:
    from http.client import HTTPException
    from urllib.error import URLError
    from urllib.request import urlopen

    try:
        with atomic(target) as temporary:
            try:
                with urlopen(url, timeout=TIMEOUT) as answer:
                    _receive(answer, temporary, progress)
            except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
                _refuse(url, error)
            if sha256 is not None:
                require(temporary, url, sha256)
    except DataError as error:
        cause = error.__cause__
        raise (of_this_machine(cause, f"get {url}") if isinstance(cause, OSError) else error) from error


def _receive(answer: HTTPResponse, target: Path, progress: Advance | None) -> None:
    size, moved = answer.length, 0
    try:
        with target.open("wb") as writer:
            while chunk := answer.read(CHUNK):
                writer.write(chunk)
                moved += len(chunk)
                if progress is not None:
                    progress(len(chunk))
        if size is not None and moved != size:
            raise ConnectionResetError(f"{moved} of {size} bytes came")
    except BaseException:
        if progress is not None:
            progress(-moved)
        raise


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
    raise StoreError(f"cannot get {url}: {why}. {remedy}, then run the same again.", kind=kind) from error
