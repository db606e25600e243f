from __future__ import annotations

import logging
import sys
from collections.abc import Callable

import pytest

from adasde.errors import AdaSDEError
from flows.system.logging import Explained


def record_of(error: Exception) -> logging.LogRecord:
    try:
        raise error
    except Exception:
        return logging.LogRecord("x", logging.ERROR, "x", 1, "failed: %r", (error,), sys.exc_info())


@pytest.fixture
def passes() -> Callable[[logging.LogRecord], bool]:
    return Explained().filter


def test_an_explained_failure_is_told_once_and_without_a_traceback(passes) -> None:
    error = AdaSDEError("the disk is full:\nfree some space")
    record = record_of(error)
    assert passes(record)
    assert logging.Formatter().format(record) == "the disk is full:\nfree some space"
    assert not passes(record_of(error)), "told already"
    assert passes(record_of(AdaSDEError("another one")))


def test_others_keep_their_traceback(passes) -> None:
    for _ in range(2):
        record = record_of(ZeroDivisionError("oh"))
        assert passes(record)
        assert "Traceback" in logging.Formatter().format(record)
    assert passes(logging.LogRecord("x", logging.INFO, "x", 1, "hello", (), None))


def test_tracebacks_can_be_asked_for(passes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADASDE_DEBUG", "1")
    record = record_of(AdaSDEError("the disk is full"))
    assert passes(record)
    assert "Traceback" in logging.Formatter().format(record)
