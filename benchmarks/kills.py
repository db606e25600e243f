"""Kill -9 of all processes of a run at random moments, then the same command again: are the bytes the same?

    python benchmarks/kills.py --moments 20 --seed 0

One run is left undisturbed. Then, in a new project each time, a run is killed at a random moment of that
run's length, and run again to its end. Every MD5 in dvc.lock must be that of the undisturbed run (wall times
left out), and no temporary file may be left (goal: 20 of 20). The result is written after every moment, so
that what was stopped can be carried on with the same seed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from overhead_pipeline import ADASDE, HERE, ROOT, new_project

from adasde.config.params import check_params
from adasde.utils.atomic_io import write_json
from flows.dvc.graph import output_hashes
from flows.tracking.runs import VOLATILE

sys.path.insert(0, str(ROOT / "tests/support"))
from stopping import kill_all
from tiny import tiny_values, write_params

OUT = HERE / "results" / "kills.json"


def small_project(folder: Path) -> Path:
    """The real stages, small numbers."""
    project = new_project(folder)
    write_params(project, check_params(tiny_values()).model_dump())
    return project


def start(project: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [ADASDE, "run"],
        cwd=project,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What it said; it must end well."""
    said = process.communicate()[1]
    assert process.returncode == 0, said
    return said


def hashes(project: Path) -> dict[str, str]:
    """Path -> MD5 of every output that must be the same each time."""
    outs = [out for stage in output_hashes(project).values() for out in stage.items()]
    return {path: md5 for path, md5 in outs if not path.endswith(VOLATILE)}


def litter(project: Path) -> list[str]:
    """Temporary files below the folders of outputs."""
    found = [path for folder in ("data", "report") for path in (project / folder).rglob("*.tmp")]
    return [str(path.relative_to(project)) for path in found]


def under_way(said: str) -> list[str]:
    """The stages that a killed run had started and not finished."""
    words = [line.partition(": ")[::2] for line in said.splitlines()]
    ended = {stage for stage, what in words if what.startswith(("ran", "unchanged"))}
    return [stage for stage, what in words if what == "started" and stage not in ended]


def kill_at(seconds: float, expected: dict[str, str], folder: Path) -> dict[str, Any]:
    """One cycle in a project of its own."""
    project = small_project(folder)
    process = start(project)
    time.sleep(seconds)
    ended = process.poll() is not None
    kill_all(project)
    killed_in = under_way(process.communicate()[1])
    finish(start(project))
    found, left = hashes(project), litter(project)
    return {
        "seconds": round(seconds, 2),
        "after its end": ended,
        "killed in": killed_in,
        "identical": found == expected,
        "left": left,
    }


def load(seed: int) -> dict[str, Any]:
    """What an earlier try with the same seed has found."""
    if OUT.is_file():
        result = json.loads(OUT.read_text())
        if result["seed"] == seed:
            return result
    return {"seed": seed, "kills": []}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    result = load(options.seed)
    chance = random.Random(options.seed)
    shares = [chance.random() for _ in range(options.moments)]
    with tempfile.TemporaryDirectory() as folder:
        whole = small_project(Path(folder, "whole"))
        began = time.perf_counter()
        finish(start(whole))
        result["undisturbed seconds"] = round(time.perf_counter() - began, 1)
        expected = hashes(whole)
        for number in range(len(result["kills"]), options.moments):
            place = Path(folder, str(number))
            kill = kill_at(shares[number] * result["undisturbed seconds"], expected, place)
            result["kills"].append({"share": round(shares[number], 3)} | kill)
            good = [one for one in result["kills"] if one["identical"] and not one["left"]]
            result["identical"] = f"{len(good)} of {len(result['kills'])}"
            print(f"{number + 1}: {result['kills'][-1]}", flush=True)
            write_json(OUT, result)
            shutil.rmtree(place)
    print(f"{result['identical']} ended with identical bytes and nothing left")


if __name__ == "__main__":
    main()
