"""A server of one file with the faults of real servers: cuts, false headers, redirects, busy, no ranges."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from site_server import Quiet, served


@dataclass
class Fault:
    """The faults of one answer.

    Attributes:
        cut: bytes after which the connection ends.
        status: sent with ``headers`` instead of 200 or 206.
        length: bytes added to the true ``Content-Length``.
        body: other content.
        shift: offset of a partial answer from the requested first byte.
    """

    cut: int | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    length: int = 0
    body: bytes | None = None
    shift: int = 0


@dataclass
class Site:
    """A server's ``content``, under every path; each answer consumes one of the ``faults``.

    Attributes:
        ranges: whether the server supports ranges.
        validators: whether the content has an ETag.
        sent: total bytes of bodies.
        asked: header Range of every request; empty: none.
        paths: path of every request.
        before: called before every answer.
    """

    content: bytes
    faults: list[Fault] = field(default_factory=list)
    ranges: bool = True
    validators: bool = True
    sent: int = 0
    asked: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    address: str = ""
    before: Callable[[], None] = lambda: None


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    """Serve ``site`` in threads of this process."""

    class Handler(Quiet):
        def do_GET(self) -> None:
            site.before()
            site.paths.append(self.path)
            site.asked.append(self.headers.get("Range", ""))
            fault = site.faults.pop(0) if site.faults else Fault()
            if fault.status is not None:
                self.send_response(fault.status)
                for name, value in fault.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.answer(fault, site.content if fault.body is None else fault.body)

        def answer(self, fault: Fault, content: bytes) -> None:
            tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            current = self.headers.get("If-Range", tag) == tag
            first = int(wanted[1]) if wanted and site.ranges and current else 0
            if first and first >= len(content):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            first += fault.shift if first else 0
            body = content[first:]
            self.send_response(206 if first else 200)
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            if site.validators:
                self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(body) + fault.length))
            self.end_headers()
            body = body[: fault.cut]
            site.sent += len(body)
            with suppress(ConnectionError):
                self.wfile.write(body)

    with served(Handler) as address:
        site.address = address
        yield site
