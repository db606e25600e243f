"""Prefect's logs of explained failures: the explanation once, no traceback."""

from __future__ import annotations

import logging
import os

from adasde.errors import AdaSDEError


class Explained(logging.Filter):
    """Replaces the traceback of an ``AdaSDEError`` by its message; drops repetitions.

    ADASDE_DEBUG=1 shows tracebacks, as on the command line.
    """

    def __init__(self) -> None:
        super().__init__()
        self._told: BaseException | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the record, which may be changed."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, AdaSDEError) or os.environ.get("ADASDE_DEBUG") == "1":
            return True
        if error is self._told:
            return False
        self._told = error
        record.msg, record.args, record.exc_info = str(error), (), None
        return True


_explained = Explained()


def explain_failures() -> None:
    """Let the logs of runs pass through the filter; a second call changes nothing."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_explained)
