"""Files from wherever they are: a path, ``file://``, ``s3://``, ``https://``, ``hf://``, or MLflow."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import quote

from adasde.errors import StoreError
from adasde.storage.base import altered, checked_key, missing, require
from adasde.storage.download import download, require_online
from adasde.storage.hub import hub_copy
from adasde.storage.resolve import local_path, open_store, scheme
from adasde.utils.progress import Advance

RESOLVERS = "adasde.resolvers"
"""The entry points, by scheme, of functions ``(address, folder) -> path`` for what other packages keep."""


def local_copy(
    spec: str | os.PathLike[str],
    folder: str | os.PathLike[str] | None = None,
    *,
    sha256: str | None = None,
    progress: Advance | None = None,
) -> Path:
    """The local file that ``spec`` means; what is elsewhere is copied into ``folder`` first.

    ``spec`` is a path, ``file:///path``, ``s3://bucket/key``, ``http(s)://host/path``,
    ``hf://org/name/file[@revision]`` (of the Hugging Face hub) or ``models:/name@alias`` (the coefficients
    of a registered version). Without ``folder`` the copy lies in
    a temporary one until the program ends. What is known of the content is verified: ``sha256``, the
    checksum of an object in a store, the tag ``sha256`` of a registered version. ``progress`` is called
    with the numbers of bytes that came.

    Raises:
        StoreError: there is no such file, it cannot be reached, or it is not what it should be.
    """
    text = os.fspath(spec)
    match scheme(text):
        case None | "file":
            path = local_path(text)
            if not path.is_file():
                raise missing(text)
        case "s3":
            require_online(text)
            url, _, key = text.rpartition("/")
            path = _folder(folder) / checked_key(key)
            open_store(url).get(key, path, progress=progress, unchecked=True)
        case "http" | "https":
            path = download(text, _folder(folder), sha256=sha256, progress=progress)
        case "hf":
            path = hub_copy(text, _folder(folder))
            if not path.is_file():
                raise StoreError(f"{text!r} is a whole repository: name a file of it.", kind="name")
        case other:
            path = _resolved(other, text, _folder(folder))
    if sha256 is not None:
        require(path, text, sha256)
    return path


def read_pointed(spec: str | os.PathLike[str]) -> tuple[str, bytes]:
    """(where it lies, content) of the file that ``spec`` means, as ``local_copy``; pointers are followed.

    Raises:
        OSError: a plain path that cannot be read.
        StoreError: as ``local_copy``, or the file that a pointer names is not the one that it describes.
    """
    text = os.fspath(spec)
    data = _read(text)
    pointer = resolve_pointer(text, data)
    if pointer is None:
        return text, data
    target, known = pointer
    data = _read(target)
    if (found := hashlib.sha256(data).hexdigest()) != known:
        raise altered(target, found, known)
    return target, data


def resolve_pointer(spec: str | os.PathLike[str], data: bytes) -> tuple[str, str] | None:
    """(address, SHA-256) of what the pointer ``data``, read from ``spec``, names; None if it is no pointer.

    A pointer is the JSON object ``{"bundle": "path/of/coefficients.json", "sha256": "…"}``, with other keys
    if need be; ``bundle`` is relative to the pointer's own folder.

    Raises:
        StoreError: it names a place outside its folder.
    """
    try:
        document = json.loads(data)
    except ValueError:
        return None
    if not (isinstance(document, Mapping) and {"bundle", "sha256"} <= set(document)):
        return None
    text = os.fspath(spec)
    bundle = checked_key(str(document["bundle"]))
    if scheme(text) in ("file", "http", "https"):
        text, bundle = text.partition("?")[0], quote(bundle)
    folder, slash, _ = text.rpartition("/")
    return f"{folder}{slash}{bundle}", str(document["sha256"])


def _read(text: str) -> bytes:
    if scheme(text) is None:
        return Path(text).read_bytes()
    with tempfile.TemporaryDirectory(prefix="adasde-") as folder:
        return local_copy(text, folder).read_bytes()


def _resolved(name: str, text: str, folder: Path) -> Path:
    """The file behind an address whose scheme another package resolves: ``models:/`` is MLflow's."""
    for point in entry_points(group=RESOLVERS, name=name):
        resolve: Callable[[str, Path], Path] = point.load()
        return resolve(text, folder)
    raise StoreError(
        f"{text!r}: addresses with {name!r} are not known. Use a path, file://, s3://, https://, "
        "hf://org/name/file or models:/name@alias.",
        kind="name",
    )


def _folder(folder: str | os.PathLike[str] | None) -> Path:
    if folder is not None:
        return Path(folder)
    made = tempfile.mkdtemp(prefix="adasde-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def one_line(error: BaseException) -> str:
    """What an exception says, without its line breaks and its last full stop."""
    return " ".join(str(error).split()).rstrip(".")


@contextmanager
def explained_s3(doing: str) -> Iterator[None]:
    """Say plainly what other programs, MLflow for one, meet at the S3 server; ``doing`` completes "cannot".

    Raises:
        StoreError: boto failed inside the block.
    """
    try:
        yield
    except _boto() as error:
        from adasde.storage.s3_errors import explanation

        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "the server"
        raise explanation(error, doing, endpoint=endpoint) from error


def _boto() -> tuple[type[Exception], ...]:
    """Its exceptions; none where nobody has imported it."""
    if "boto3" not in sys.modules:
        return ()
    from adasde.storage.s3_errors import OF_BOTO

    return OF_BOTO
