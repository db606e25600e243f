"""The storage of the project for DVC and MLflow: the places ``dvc`` and ``mlflow`` below one address.

Both read endpoint, region and credentials from the variables of AWS.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adasde.errors import StoreError
from adasde.storage import Store, configured_url, open_store
from adasde.storage.base import Patience
from adasde.storage.check import require_working
from adasde.storage.resolve import scheme

REMOTE = "adasde"
"""Name of the DVC remote."""

BRIEF = Patience(attempts=2, connect=3.0, read=20.0)
"""For checks before work starts: a few seconds, more for a server that is slow to answer."""


def dvc_url(project: Path) -> str | None:
    """Address of the DVC remote; None if no storage is configured."""
    return _below(project, "dvc")


def mlflow_url(project: Path) -> str | None:
    """URI of the files of MLflow's runs; None if no storage is configured."""
    place = _below(project, "mlflow")
    return place if place is None or scheme(place) else Path(place).as_uri()


def _below(project: Path, name: str) -> str | None:
    url = configured_url(project)
    return url and f"{url.rstrip('/')}/{name}"


def open_briefly(project: Path) -> Store:
    """The project's storage, opened for a check.

    Raises:
        StoreError: its address or the variables of AWS cannot be used.
    """
    return open_store(project=project, patience=BRIEF)


def require_storage(project: Path) -> None:
    """Check that the storage works, if one is configured, before hours are spent on what it will hold.

    Raises:
        StoreError: it fails; why, and what to do.
    """
    if configured_url(project) is None:
        return
    try:
        require_working(open_briefly(project))
    except StoreError as error:
        raise StoreError(
            f"no stage was started, because the storage fails: {error}", kind=error.kind
        ) from error


def with_remote(local: dict[str, Any], url: str | None) -> dict[str, Any]:
    """DVC's local configuration with our remote at ``url``, or without it if None; the rest is kept.

    It becomes the default remote unless this machine has another default. Pulled files are hashed
    (``verify``): otherwise DVC 3 keeps the beginning of a file that was cut short, if it was pulled alone.
    """
    remotes = {name: dict(remote) for name, remote in local.get("remote", {}).items()}
    core = dict(local.get("core", {}))
    if url is None:
        remotes.pop(REMOTE, None)
        if core.get("remote") == REMOTE:
            del core["remote"]
    else:
        remotes[REMOTE] = remotes.get(REMOTE, {}) | {"url": url, "verify": "true"}
        core.setdefault("remote", REMOTE)
    return local | {"core": core, "remote": remotes}
