"""`adasde sample` and `adasde distill` under the real torchrun, on the loopback interface."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from command import adasde
from tables import random_table
from tiny import tiny_values, write_params

from adasde.models.loading import load_model

MADE = ("coefficients.json", "loss.csv")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def torchrun(processes: int) -> list[str]:
    words = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-addr", "127.0.0.1"]
    return [*words, "--master-port", str(free_port())]


@pytest.mark.long
def test_two_processes_make_the_archive_of_one(tmp_path: Path) -> None:
    """Their micro-batches are those of one process, and so are the bytes; both have written."""
    model = load_model("glyphs")
    about = {"name": "glyphs", "sha256": model.sha256, "guidance": 1.5}
    random_table(model=about).save(tmp_path / "nfe5.json")
    words = ["-m", "adasde", "sample", "--coefficients", "nfe5.json", "--seeds", "0-11", "--batch", "2"]
    words += ["--classes", "7,0,3", "--device", "cpu"]
    done = {}
    for out, before in (("one.zip", []), ("two.zip", torchrun(2))):
        command = [sys.executable, *before, *words, "--out", out, "--json"]
        done[out] = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
        assert done[out].returncode == 0, done[out].stderr
    assert done["two.zip"].stdout.count('"made": 6') == 2, done["two.zip"].stdout
    assert not list(tmp_path.glob("*.parts"))
    one, two = (tmp_path / out for out in done)
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(two) as archive:
        assert len(archive.namelist()) == 12


@pytest.mark.long
def test_any_number_of_processes_learns_the_same_bytes(finished_project: Path, tmp_path: Path) -> None:
    """The energy distance couples the samples of all processes; the last process has fewer micro-batches."""
    values = tiny_values()
    values["distill"] |= {"solver": "adasde-multistep", "learn_grid": True, "energy_weight": 3.0}
    for name in ("checkpoint", "reference"):
        shutil.copytree(finished_project / "data" / name, tmp_path / "data" / name)
    write_params(tmp_path, values)
    assert adasde(["teacher", "--nfe", "3"], tmp_path).code == 0
    words = ["-m", "adasde", "distill", "--nfe", "3", "--json"]

    def run(before: list[str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *before, *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)

    ended = run(torchrun(2))
    assert ended.returncode != 0 and "2 processes share the micro-batches of a batch" in ended.stderr

    write_params(tmp_path, values | {"distill": values["distill"] | {"micro_batch": 6}})
    made = []
    for before in ([], torchrun(2), torchrun(3)):
        ended = run(before)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count('"stage": "distill"') == 1
        made.append([(tmp_path / "data/distill/nfe3/custom" / name).read_bytes() for name in MADE])
    assert made[0] == made[1] == made[2]
