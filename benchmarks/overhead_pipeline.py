"""What Prefect, DVC and MLflow cost on top of the bare stages of the shipped params.yaml.

    python benchmarks/overhead_pipeline.py

* ``bare``: the commands of dvc.yaml, as many at once as the pipeline runs, nothing else;
* ``pipeline``: ``adasde run`` in an empty project, and ``overhead``: the difference (goal: 45 s);
* ``unchanged``: ``adasde run`` once more;
* ``scheduled``: a run of the deployment ``nightly`` when nothing has changed, from its first to its last
  state (goal: 30 s), and ``after request``: the same, from the moment it was asked for.

Each of the first three has its CPU time beside it (``… cpu``: of all its processes). On a busy machine wall
times say nothing; the CPU times still do, and two cores need at least half of them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime
from pathlib import Path
from typing import Any

from flows.dvc import graph
from flows.dvc.prepare import prepare_dvc
from flows.servers.prefect import api_url
from flows.servers.prefect_api import PrefectApi
from flows.servers.service import free_port
from flows.system import environment

HERE = Path(__file__).parent
ROOT = HERE.parent
ADASDE = str(Path(sys.executable).with_name("adasde"))
COPIED = (".dvc/config", ".dvcignore", "dvc.yaml", "params.yaml", "prefect.yaml", "requirements.lock")


def new_project(folder: Path) -> Path:
    """A copy of this project in which nothing has run."""
    for name in COPIED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "adasde", folder / "adasde", ignore=shutil.ignore_patterns("__pycache__"))
    prepare_dvc(folder)
    return folder


def adasde(project: Path, *words: str) -> str:
    done = subprocess.run([ADASDE, *words], cwd=project, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def commands(project: Path) -> dict[str, str]:
    """The command of every stage, as DVC would run it."""
    from dvc.repo import Repo

    with Repo(str(project)) as repo:
        return {stage.name: str(stage.cmd) for stage in repo.index.stages}


def timed(call: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds of a call; the latter are those of the processes that have ended in it."""
    wall, cpu = time.perf_counter(), cpu_of_children()
    call()
    return time.perf_counter() - wall, cpu_of_children() - cpu


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_bare(project: Path) -> None:
    """Run every command once those that it needs have ended."""
    stages, lines = graph.read_stages(project), commands(project)
    env = environment.settings(project, os.environ)
    running: dict[Future[Any], str] = {}
    done: set[str] = set()
    with ThreadPoolExecutor(environment.parallel_stages(env)) as pool:
        while len(done) < len(stages):
            for stage in stages.values():
                if stage.name not in {*running.values(), *done} and done.issuperset(stage.needs):
                    running[pool.submit(run_command, lines[stage.name], project, env)] = stage.name
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                future.result()
                done.add(running.pop(future))


def run_command(line: str, project: Path, env: Mapping[str, str]) -> None:
    subprocess.run(
        shlex.split(line), cwd=project, env=os.environ | env, stdout=subprocess.DEVNULL, check=True
    )


def run_pipeline(project: Path, expected: str) -> None:
    """``adasde run``, in which every stage must end as ``expected``."""
    summary = json.loads(adasde(project, "run", "--json"))
    assert set(summary["stages"].values()) == {expected}, summary["stages"]
    assert all(run["new"] == (expected == "ran") for run in summary["runs"])


def run_scheduled(project: Path) -> dict[str, float]:
    """One run of ``nightly`` by a worker."""
    port = free_port()
    up = subprocess.Popen(
        [ADASDE, "up", "--no-mlflow", "--prefect-port", str(port)],
        cwd=project,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert up.stdout and any("Ctrl-C" in line for line in up.stdout)
        adasde(project, "prefect", "deploy", "--all")
        api = PrefectApi(api_url(port))
        (nightly,) = api.post("deployments/filter", {"deployments": {"name": {"any_": ["nightly"]}}})
        asked = time.time()
        run = api.post(f"deployments/{nightly['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}})
        while not run["end_time"]:
            time.sleep(0.2)
            run = api.get(f"flow_runs/{run['id']}")
        assert run["state_name"] == "Completed", run["state"]
        end = datetime.fromisoformat(run["end_time"]).timestamp()
        began = datetime.fromisoformat(run["start_time"]).timestamp()
        return {"scheduled": end - began, "after request": end - asked}
    finally:
        up.terminate()
        up.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bare, project = new_project(Path(folder, "bare")), new_project(Path(folder, "pipeline"))
        result: dict[str, float] = {}
        for name, call in (
            ("bare", lambda: run_bare(bare)),
            ("pipeline", lambda: run_pipeline(project, "ran")),
            ("unchanged", lambda: run_pipeline(project, "unchanged")),
        ):
            result[name], result[f"{name} cpu"] = timed(call)
        for kind in ("", " cpu"):
            result[f"overhead{kind}"] = result[f"pipeline{kind}"] - result[f"bare{kind}"]
        result |= run_scheduled(project)
    for name, seconds in result.items():
        print(f"{name:15s} {seconds:6.1f} s")
    out = HERE / "results" / "overhead_pipeline.json"
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
