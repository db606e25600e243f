from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from adasde.utils.atomic_io import atomic, temporary_folder, write_text

KILLED = """
import os, sys
from adasde.utils.atomic_io import atomic
with atomic(sys.argv[1]) as temporary:
    temporary.touch()
    os.kill(os.getpid(), 9)
"""
WRITES = "import sys; from adasde.utils.atomic_io import write_text; write_text(sys.argv[1], 'second')"


def python(code: str, path: Path) -> int:
    return subprocess.run([sys.executable, "-c", code, str(path)]).returncode


def test_what_a_killed_process_has_left_goes_with_the_next_write(tmp_path: Path) -> None:
    target = tmp_path / "x [1].json"
    assert python(KILLED, target) == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".x [1].json.") and left.suffix == ".tmp"
    others = [f".x [1].json.{os.getpid()}-1.tmp", f".y{left.name[1:]}", ".x [1].json.of-another.tmp"]
    for name in others:
        (tmp_path / name).touch()
    write_text(target, "whole")
    assert target.read_text() == "whole"
    assert {path.name for path in tmp_path.iterdir()} == {target.name, *others}


def test_a_folder_that_a_killed_process_has_left_goes_with_the_next_one(tmp_path: Path) -> None:
    code = KILLED.replace("atomic", "temporary_folder").replace(
        "utils.temporary_folder_io", "utils.atomic_io"
    )
    code = code.replace("temporary.touch()", "(temporary / 'x').touch()")
    assert python(code, tmp_path / "out") == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert (left / "x").is_file()
    with temporary_folder(tmp_path / "out") as folder:
        assert not left.exists() and folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    with atomic(tmp_path / "x") as temporary:
        temporary.write_text("first")
        assert python(WRITES, tmp_path / "x") == 0
    assert (tmp_path / "x").read_text() == "first"
