"""Files by address: a path, ``file://``, ``s3://``, ``https://``, ``hf://``, or another package's scheme."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import quote

from adasde.errors import StoreError
from adasde.storage.base import checked_key, require
from adasde.storage.download import download, require_online
from adasde.storage.errors import altered, missing
from adasde.storage.hub import hub_copy
from adasde.storage.resolve import BACKENDS, local_path, open_store, scheme
from adasde.utils.progress import Advance

RESOLVERS = "adasde.resolvers"
"""Entry points by scheme: functions ``(address, folder) -> path`` of other packages."""


def local_copy(
    spec: str | os.PathLike[str],
    folder: str | os.PathLike[str] | None = None,
    *,
    sha256: str | None = None,
    progress: Advance | None = None,
) -> Path:
    """The local file at ``spec``; a remote one is copied into ``folder`` first.

    ``spec`` is a path, ``file:///path``, ``s3://bucket/key``, ``http(s)://host/path``,
    ``hf://org/name/file[@revision]`` (of the Hugging Face hub) or ``models:/name@alias`` (the coefficients
    of a registered version). Without ``folder`` the copy lies in a temporary one until the program ends.
    Every known checksum is verified: ``sha256``, that of an object in a store, the tag ``sha256`` of a
    registered version. ``progress`` is called with numbers of bytes received.

    Raises:
        StoreError: there is no such file, it cannot be reached, or its content is not the expected one.
    """
    text = os.fspath(spec)
    name = scheme(text)
    if name in (None, "file"):
        path = local_path(text)
        if not path.is_file():
            raise missing(text)
    elif name in BACKENDS:
        require_online(text)
        url, _, key = text.rpartition("/")
        path = _folder(folder) / checked_key(key)
        open_store(url).get(key, path, progress=progress, unchecked=True)
    elif name in ("http", "https"):
        path = download(text, _folder(folder), sha256=sha256, progress=progress)
    elif name == "hf":
        path = hub_copy(text, _folder(folder))
        if not path.is_file():
            raise StoreError(f"{text!r} is a complete repository: name a file of it.", kind="name")
    else:
        path = _resolver(str(name), text)(text, _folder(folder))
    if sha256 is not None:
        require(path, text, sha256)
    return path


def read_pointed(spec: str | os.PathLike[str]) -> tuple[str, bytes]:
    """Address and content of the document at ``spec`` (see ``local_copy``); a pointer is followed.

    Raises:
        OSError: a plain path that cannot be read.
        StoreError: as ``local_copy``, or the content is not the one that a pointer describes.
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
    """Address and SHA-256 in the pointer ``data``, read from ``spec``; None if it is no pointer.

    A pointer is the JSON object ``{"bundle": "path/of/coefficients.json", "sha256": "…"}``, possibly with
    other keys; ``bundle`` is relative to the folder of the pointer.

    Raises:
        StoreError: it points outside its folder.
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


def _resolver(name: str, text: str) -> Callable[[str, Path], Path]:
    """The function of another package that resolves addresses of a scheme: MLflow's ``models:/`` in flows."""
    for point in entry_points(group=RESOLVERS, name=name):
        resolve: Callable[[str, Path], Path] = point.load()
        return resolve
    raise StoreError(
        f"{text!r}: the scheme {name!r} is not known. Use a path, file://, s3://, https://, "
        "hf://org/name/file or models:/name@alias.",
        kind="name",
    )


def _folder(folder: str | os.PathLike[str] | None) -> Path:
    if folder is not None:
        return Path(folder)
    made = tempfile.mkdtemp(prefix="adasde-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)
