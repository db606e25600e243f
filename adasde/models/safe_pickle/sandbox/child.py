"""Entry of the child process: standard input is the pickle, its argument the options as JSON.

It writes one line of JSON, followed by the numbers that lie inside the pickle (see ``AnswerEncoder``).
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any

from .allowlist import deferred, lenient, strict
from .encoder import AnswerEncoder
from .stubs import Refused
from .unpickler import read


def answer(
    stream: IO[bytes], *, size: int, archive: bool, keys: Sequence[str], needed: Sequence[str] = ()
) -> tuple[Any, list[Any]]:
    """(JSON, bytes that follow it) of the pickle in ``stream``; see ``read_document``."""
    encoder = AnswerEncoder(size)
    find = lenient if archive else deferred if needed else strict
    try:
        value = read(stream, find, archive=archive)
        if needed and isinstance(value, dict):
            return {"document": encoder.entries(value, needed), "storages": encoder.rows}, encoder.blob
        chosen = [key for key in keys if isinstance(value, dict) and key in value][:1]
        if chosen:
            value = {key: item if key in chosen else None for key, item in value.items()}
        return {"document": encoder.encode(value), "storages": encoder.rows}, encoder.blob
    except Refused as error:
        return {"refused": str(error)[:600]}, []
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        return {"damaged": str(error)[:200]}, []


def limit(memory: int, seconds: int) -> None:
    """Limit this process to ``memory`` bytes and ``seconds`` of computing, as far as the system can."""
    with suppress(ImportError):  # Windows
        import resource

        kinds = ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory))
        for kind, most in kinds:
            _, highest = resource.getrlimit(kind)
            allowed = most if highest == resource.RLIM_INFINITY else min(most, highest)
            with suppress(ValueError, OSError):  # macOS
                resource.setrlimit(kind, (allowed, allowed))


def main() -> None:
    """Answer for standard input."""
    gc.disable()
    options = json.loads(sys.argv[-1])
    limit(options.pop("memory"), options.pop("seconds"))
    with open(0, "rb", closefd=False) as stream:
        document, blob = answer(stream, **options)
    sys.stdout.buffer.write(json.dumps(document).encode() + b"\n")
    for part in blob:
        sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()
