"""Stores by address: given, configured by the environment or params.yaml, or the project's own folder."""

from __future__ import annotations

import os
import pkgutil
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from adasde.errors import StoreError
from adasde.storage.base import PATIENT, Patience, Store
from adasde.storage.errors import needs
from adasde.storage.local import LocalStore

VARIABLE = "ADASDE_STORAGE_URL"
"""The variable with the address of the store; it takes precedence over ``storage.url`` in params.yaml."""

DEFAULT = "store"
"""The folder of the project that is the store if none is configured."""

BACKENDS = {"s3": "adasde.storage.s3:S3Store"}
"""Scheme -> class of the store at addresses of that scheme, called with ``(url, patience=...)``.

Named, not imported: a module is loaded when its first store is opened, since its libraries are optional.
"""

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def open_store(
    url: str | None = None, *, project: str | os.PathLike[str] = ".", patience: Patience = PATIENT
) -> Store:
    """The store at ``url``: ``s3://bucket/prefix``, ``file:///folder`` or a folder. Nothing is sent yet.

    None: ADASDE_STORAGE_URL, else ``storage.url`` in the project's params.yaml, else its folder ``store``.
    Folders are relative to ``project``; ``patience`` is for servers.

    Raises:
        StoreError: another kind of address, boto3 is missing, or the variables of AWS cannot be used.
        ParamsError: params.yaml is not YAML.
    """
    address = checked_url(configured_url(project) or DEFAULT if url is None else url)
    backend = BACKENDS.get(scheme(address) or "")
    if backend is None:
        return LocalStore(Path(project) / local_path(address))
    try:
        store: Store = pkgutil.resolve_name(backend)(address, patience=patience)
    except ModuleNotFoundError as error:
        raise needs(address, error.name, "pipeline") from error
    return store


def configured_url(project: str | os.PathLike[str] = ".") -> str | None:
    """The store configured by the environment or params.yaml, a folder as absolute path; None if none is.

    Raises:
        StoreError: it is no address of a store.
        ParamsError: params.yaml is not YAML.
    """
    url = os.environ.get(VARIABLE) or _from_params(Path(project) / "params.yaml")
    if not url:
        return None
    served = scheme(checked_url(url)) in BACKENDS
    return url if served else str((Path(project) / local_path(url)).absolute())


def checked_url(url: str) -> str:
    """``url`` itself, if it can be the address of a store (StoreError)."""
    name = scheme(url)
    local, served = name in (None, "file"), name in BACKENDS and urlsplit(url).netloc
    if not url.strip() or not (local or served):
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


def _from_params(path: Path) -> str | None:
    from adasde.utils.yaml_schema import read_yaml  # needs pydantic, which the core does without

    section = read_yaml(path).get("storage") if path.is_file() else None
    url = section.get("url") if isinstance(section, dict) else None
    return url if isinstance(url, str) else None
