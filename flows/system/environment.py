"""Environment settings: state inside the project, no telemetry, one thread per process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from adasde.errors import AdaSDEError

ALWAYS = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
}
"""Settings that override the user's."""


def find_project(start: Path) -> Path:
    """The folder with ``dvc.yaml`` at or above ``start``.

    Raises:
        AdaSDEError: there is none.
    """
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise AdaSDEError(
        f"{start} is not inside a project: neither it nor a folder above has a dvc.yaml. "
        "Go to the folder that holds dvc.yaml and params.yaml, or name it with --project."
    )


def settings(project: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """All variables to set for ``project``; those that ``environ`` has keep their value, save ``ALWAYS``."""
    cache = project / ".cache"
    defaults = {
        "PREFECT_HOME": str(project / ".prefect"),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
        # limits still hold, and are still released, when a server has been stopped meanwhile
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "MLFLOW_TRACKING_URI": f"sqlite:///{project / 'mlflow.db'}",
        "DVC_SITE_CACHE_DIR": str(cache / "dvc"),
        "MPLCONFIGDIR": str(cache / "matplotlib"),
        "TORCH_HOME": str(cache / "torch"),
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # where `--json` prints
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
        "OMP_NUM_THREADS": "1",
    }
    values = {name: environ.get(name) or value for name, value in defaults.items()} | ALWAYS
    interpreter, path = str(Path(sys.executable).parent), environ.get("PATH", os.defpath)
    if path.split(os.pathsep)[0] != interpreter:
        values["PATH"] = os.pathsep.join((interpreter, path))
    return values


def in_git(project: Path) -> bool:
    """Whether the project is in a git work tree (an unpacked archive is not) and git is installed."""
    if not shutil.which("git"):
        return False
    command = ["git", "-C", str(project), "rev-parse", "--is-inside-work-tree"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def parallel_stages(environ: Mapping[str, str] = os.environ) -> int:
    """How many stages may compute at once: the cores of this process over the threads of each stage."""
    threads = environ.get("OMP_NUM_THREADS", "1")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // (int(threads) if threads.isdigit() and int(threads) > 0 else 1))
