from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from flows.system import databases
from flows.system.databases import MLFLOW, PREFECT, Tool

TOOLS = pytest.mark.parametrize("tool", [PREFECT, MLFLOW], ids=lambda tool: tool.name)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Tool], Tool]:
    """Gives a tool a template of one table, in a place of its own."""
    monkeypatch.setattr(databases, "PLACE", tmp_path / "templates")

    def make(tool: Tool) -> Tool:
        tool.template.parent.mkdir()
        with closing(sqlite3.connect(tool.template)) as connection, connection:
            connection.execute("CREATE TABLE made (name TEXT)")
        return tool

    return make


def tables(database: Path) -> dict[str, str]:
    with closing(sqlite3.connect(database)) as connection:
        return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


def versions(database: Path) -> list[tuple[str]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT * FROM alembic_version").fetchall()


@TOOLS
def test_a_new_database_is_a_copy(tool: Tool, made: Callable[[Tool], Tool], tmp_path: Path) -> None:
    database = tmp_path / "home" / "new.db"
    made(tool).provide(database)
    assert set(tables(database)) == {"made"}
    assert [path.name for path in database.parent.iterdir()] == ["new.db"]


@TOOLS
def test_what_is_there_stays(tool: Tool, made: Callable[[Tool], Tool], tmp_path: Path) -> None:
    database = tmp_path / "mine.db"
    database.write_bytes(b"mine")
    made(tool).provide(database)
    assert database.read_bytes() == b"mine"


def test_one_of_many_at_once_makes_it(made: Callable[[Tool], Tool], tmp_path: Path) -> None:
    database = tmp_path / "shared.db"
    made(MLFLOW)
    threads = [threading.Thread(target=MLFLOW.provide, args=(database,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(tables(database)) == {"made"}
    assert {path.name for path in tmp_path.iterdir()} == {"shared.db", "templates"}


@TOOLS
def test_without_a_template_or_a_place_the_tool_is_left_to_itself(
    tool: Tool, made: Callable[[Tool], Tool], tmp_path: Path
) -> None:
    tool.provide(tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()
    made(tool).provide(tmp_path / "no" / "such" / "folder" / "new.db")
    assert not (tmp_path / "no").exists()


@pytest.mark.long
@TOOLS
def test_the_template_is_what_the_tool_makes(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "PLACE", tmp_path / "templates")
    tool.make_template()
    assert [path.name for path in tool.template.parent.iterdir()] == [tool.template.name]
    assert versions(tool.template), "stamped: the tool has nothing left to do"
    assert {"alembic_version", {"prefect": "flow_run", "mlflow": "runs"}[tool.name]} <= set(
        tables(tool.template)
    )
    rows = {"configuration": 0} if tool is PREFECT else {"experiments": 0, "runs": 0}
    with closing(sqlite3.connect(tool.template)) as connection:
        for table, count in rows.items():
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (count,)
