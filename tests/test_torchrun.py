"""`adasde sample` under the real torchrun, on the loopback interface."""

from __future__ import annotations

import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tables import random_table

from adasde.models import load_model


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.slow
def test_two_processes_make_the_archive_of_one(tmp_path: Path) -> None:
    """Their pieces are those of one process, and so are the bytes; both have written."""
    model = load_model("glyphs")
    about = {"name": "glyphs", "sha256": model.sha256, "guidance": 1.5}
    random_table(model=about).save(tmp_path / "nfe5.json")
    words = ["-m", "adasde", "sample", "--coefficients", "nfe5.json", "--seeds", "0-11", "--batch", "2"]
    words += ["--classes", "7,0,3", "--device", "cpu"]
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    torchrun += ["--master-port", str(free_port())]
    done = {}
    for out, before in (("one.zip", []), ("two.zip", torchrun)):
        command = [sys.executable, *before, *words, "--out", out, "--json"]
        done[out] = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
        assert done[out].returncode == 0, done[out].stderr
    assert done["two.zip"].stdout.count('"made": 6') == 2, done["two.zip"].stdout
    assert not list(tmp_path.glob("*.parts"))
    one, two = (tmp_path / out for out in done)
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(two) as archive:
        assert len(archive.namelist()) == 12
