"""New databases of Prefect and MLflow: copies of empty ones that their own migrations made once.

A new database goes through every migration since a tool's first version, which takes longer than a small
stage. `python -m flows.system.databases` does that once for an installation; where it has not been done, or a
copy cannot be made, the tools migrate by themselves as ever.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from threading import get_ident

PLACE = Path(sys.prefix) / "share" / "adasde" / "databases"


@dataclass(frozen=True)
class Tool:
    """A tool with a database, and the words after ``python -m`` that make one at a path."""

    name: str
    migrate: Callable[[Path], list[str]]

    @property
    def template(self) -> Path:
        """The empty database of the installed version."""
        return PLACE / f"{self.name}-{version(self.name)}.db"

    def provide(self, database: Path) -> None:
        """Copy the empty database to ``database`` unless it exists or there is no template."""
        if database.exists():
            return
        copy = database.with_name(f"{database.name}.new-{os.getpid()}-{get_ident()}")
        with suppress(OSError):  # the tool reports it
            database.parent.mkdir(exist_ok=True)
            try:
                shutil.copyfile(self.template, copy)
                os.link(copy, database)  # never over one that another process has begun
            finally:
                copy.unlink(missing_ok=True)

    def make_template(self) -> None:
        """Migrate an empty database and keep it as one file."""
        PLACE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=PLACE, prefix=".new-") as folder:
            made, whole = Path(folder) / "made.db", Path(folder) / "whole.db"
            env = os.environ | {"PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{made}"}
            env |= {"PREFECT_HOME": folder}
            command = [sys.executable, "-m", *self.migrate(made)]
            subprocess.run(command, env=env, check=True, cwd=folder, capture_output=True)
            with closing(sqlite3.connect(made)) as source, closing(sqlite3.connect(whole)) as target:
                source.backup(target)
            whole.replace(self.template)


PREFECT = Tool("prefect", lambda made: ["prefect", "server", "database", "upgrade", "--yes"])
MLFLOW = Tool("mlflow", lambda made: ["mlflow", "db", "upgrade", f"sqlite:///{made}"])

if __name__ == "__main__":
    for tool in (PREFECT, MLFLOW):
        if not tool.template.is_file():
            tool.make_template()
