"""The storage of the project as DVC and MLflow see it: one address, below it ``dvc`` and ``mlflow``.

Endpoint, region and credentials are the variables of AWS, which both read themselves.
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
"""The name of DVC's remote there."""

BRIEF = Patience(attempts=2, connect=3.0, read=20.0)
"""For trying the storage before there is work: a few seconds, more for a server that is slow to answer."""


def dvc_url(project: Path) -> str | None:
    """Where DVC keeps the pipeline's bytes for other machines; None where no storage is named."""
    return _below(project, "dvc")


def mlflow_url(project: Path) -> str | None:
    """Where MLflow keeps the files of runs, as a URI; None where no storage is named."""
    place = _below(project, "mlflow")
    return place if place is None or scheme(place) else Path(place).as_uri()


def _below(project: Path, name: str) -> str | None:
    url = configured_url(project)
    return url and f"{url.rstrip('/')}/{name}"


def open_briefly(project: Path) -> Store:
    """The project's storage, to be tried.

    Raises:
        StoreError: its address or the variables of AWS cannot be used.
    """
    return open_store(project=project, patience=BRIEF)


def require_storage(project: Path) -> None:
    """See that the storage works, if one is named, before hours are spent on what is to lie there.

    Raises:
        StoreError: it does not; why, and what to do.
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
    """DVC's local configuration with our remote at ``url``, or without it; all else stays.

    It becomes the default remote unless another one was chosen on this machine. What comes from it is hashed:
    DVC 3 otherwise keeps the beginning of a file that was cut short, where it was the only one on its way.
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
