"""Which store is meant: by an address, by the environment, by params.yaml, or the project's own folder."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from adasde.errors import StoreError
from adasde.storage.base import PATIENT, Patience, Store
from adasde.storage.local import LocalStore

VARIABLE = "ADASDE_STORAGE_URL"
"""The address of the store; it wins over ``storage.url`` in params.yaml."""

DEFAULT = "store"
"""The folder of the project that is the store where nothing else is said."""

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def open_store(
    url: str | None = None, *, project: str | os.PathLike[str] = ".", patience: Patience = PATIENT
) -> Store:
    """The store at ``url``: ``s3://bucket/prefix``, ``file:///folder`` or a folder. Nothing is sent yet.

    None: ADASDE_STORAGE_URL, else ``storage.url`` in the project's params.yaml, else its folder ``store``.
    Relative folders are meant from ``project``; ``patience`` is for servers.

    Raises:
        StoreError: another kind of address, boto3 is missing, or the variables of AWS cannot be used.
        ParamsError: params.yaml is not YAML.
    """
    address = checked_url(configured_url(project) or DEFAULT if url is None else url)
    if scheme(address) == "s3":
        return _s3_store(address, patience)
    return LocalStore(Path(project) / local_path(address))


def configured_url(project: str | os.PathLike[str] = ".") -> str | None:
    """The store that the environment or params.yaml names, a folder as absolute path; None if none is.

    Raises:
        StoreError: it is no address of a store.
        ParamsError: params.yaml is not YAML.
    """
    url = os.environ.get(VARIABLE) or _from_params(Path(project) / "params.yaml")
    if not url:
        return None
    return url if scheme(checked_url(url)) == "s3" else str((Path(project) / local_path(url)).absolute())


def checked_url(url: str) -> str:
    """``url`` itself, if a store can be there (StoreError)."""
    known = scheme(url) in (None, "file", "s3")
    if not known or not url.strip() or (scheme(url) == "s3" and not urlsplit(url).netloc):
        raise StoreError(
            f"{url!r} is no address of a store: write s3://bucket/prefix, or a folder (storage.url in "
            f"params.yaml, or {VARIABLE}).",
            kind="name",
        )
    return url


def scheme(spec: str) -> str | None:
    """``s3`` of ``s3://bucket``, ``models`` of ``models:/name``; None for a path."""
    found = SCHEME.match(spec)
    return found[1].lower() if found else None


def local_path(spec: str) -> Path:
    """The path that a path or a ``file://`` address means."""
    if scheme(spec) != "file":
        return Path(spec).expanduser()
    parts = urlsplit(spec)
    if parts.netloc not in ("", "localhost"):
        raise StoreError(f"{spec!r} is a file of another machine: write file:///path.", kind="name")
    return Path(unquote(parts.path))


def _s3_store(url: str, patience: Patience) -> Store:
    try:
        from adasde.storage.s3 import S3Store
    except ModuleNotFoundError as error:
        raise StoreError(
            f"{url} needs {error.name}, which the plain package does not bring. Install it with: "
            "pip install 'adasde[pipeline]'"
        ) from error
    return S3Store(url, patience=patience)


def _from_params(path: Path) -> str | None:
    if not path.is_file():
        return None
    from adasde.utils.yaml_schema import read_yaml

    section = read_yaml(path).get("storage")
    url = section.get("url") if isinstance(section, dict) else None
    return url if isinstance(url, str) else None
