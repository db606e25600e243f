"""Make a run of MLflow again from what it recorded, and compare."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adasde.config.params import load_params
from adasde.errors import AdaSDEError
from flows.dvc import graph
from flows.reproduce import compare
from flows.reproduce.checkout import Checkout, Place, Say
from flows.reproduce.compare import Comparison
from flows.reproduce.source_run import SourceRun, find
from flows.system.locks import project_lock
from flows.system.subprocesses import Child
from flows.tracking.payload import Outputs, measured
from flows.tracking.provenance import machine

OURS = ("PREFECT_", "MLFLOW_", "DVC_")
"""Variables of the project that the run came from; the folder has its own."""


@dataclass(frozen=True)
class Reproduction:
    """What came of it.

    Attributes:
        warnings: why the bytes may differ, in sentences.
    """

    run_id: str
    commit: str
    folder: Path
    warnings: tuple[str, ...]
    comparison: Comparison

    def to_json(self) -> dict[str, Any]:
        """All of it for programs."""
        about = {"run_id": self.run_id, "commit": self.commit, "folder": str(self.folder)}
        return about | {"warnings": list(self.warnings)} | self.comparison.to_json()

    def require_identical(self) -> None:
        """Raise AdaSDEError if an output differs; the message names the first such stage."""
        differing = self.comparison.differing
        if not differing:
            return
        stage, outputs = next(iter(differing.items()))
        paths = ", ".join(one.path for one in outputs)
        largest = max(self.comparison.other_metrics, key=lambda one: abs(one.difference or 0), default=None)
        metric = "its metrics are the same"
        if largest and largest.difference is not None:
            metric = f"of its metrics {largest.name} differs most, by {largest.difference:+.6g}"
        raise AdaSDEError(
            f"run {self.run_id} was not reproduced: {compare.summary(self.comparison)}. The first stage "
            f"that differs is {stage} ({paths}); {metric}. {self._why()} Both are kept: compare them with "
            f"what is in {self.folder}."
        )

    def _why(self) -> str:
        if self.warnings:
            return f"Look at the reasons that it may have: {'; '.join(self.warnings)}."
        return "Packages and machine are the recorded ones: a stage is not deterministic."


def reproduce(project: Path, run_id: str, *, out: Path | None, say: Say) -> Reproduction:
    """Restore the run in ``out`` (default: in the project's .cache), run the pipeline there, and compare.

    ``say`` gets lines for people. The pipeline shows its progress on stderr.

    Raises:
        AdaSDEError: the run cannot be found or restored, or its pipeline fails.
    """
    with tempfile.TemporaryDirectory() as temporary, project_lock(project, "reproduce", key=run_id):
        recorded = find(os.environ["MLFLOW_TRACKING_URI"], run_id, Path(temporary))
        top = (out or project / ".cache" / "reproduce" / run_id).resolve()
        warnings = what_differs(recorded)
        for warning in warnings:
            say(f"warning: {warning}")
        restorer = Checkout(recorded, project, top, say=say)
        place = restorer.restore(lambda folder: environment_of(folder, recorded))
        run_pipeline(place)
        found = _compare(recorded, place.project)
        code = _other_code(recorded.setup, place.project)
        return Reproduction(run_id, recorded.commit, top, (*warnings, *code), found)


def what_differs(recorded: SourceRun) -> tuple[str, ...]:
    """Why the bytes may differ from the recorded ones here, in sentences without an end."""
    found = []
    if recorded.requirements is None:
        found.append("the run has no requirements.lock, so its packages are unknown")
    elif packages := machine.other_packages(recorded.requirements):
        found.append(
            f"installed packages differ from the run's requirements.lock: {machine.summary(packages)}"
        )
    if other := recorded.tags.get("packages_other"):
        found.append(f"the run itself was made with other packages than its lock: {other}")
    facts = machine.facts(environment_of(Path(), recorded))
    for name, (then, now) in machine.other_facts(recorded.machine, facts).items():
        found.append(f"{name} of the machine: {then} then, {now} now")
    if not recorded.machine:
        found.append("the run does not say on which machine it was made")
    if left := recorded.tags.get("git_left_out"):
        found.append(f"files that were too large to record are not restored: {', '.join(left.splitlines())}")
    return tuple(found)


def environment_of(project: Path, recorded: SourceRun) -> dict[str, str]:
    """The environment for the code of ``project``: its own state beside it, the threads of the run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    former = kept.get("PYTHONPATH")
    threads = recorded.machine.get("threads", "")
    return kept | {
        "PYTHONPATH": os.pathsep.join((str(project), *([former] if former else []))),
        "MLFLOW_TRACKING_URI": f"sqlite:///{project / 'mlflow.db'}",
        "PREFECT_HOME": str(project / ".prefect"),
        "DVC_SITE_CACHE_DIR": str(project / ".cache" / "dvc"),
        "DVC_NO_ANALYTICS": "1",
        "ADASDE_STORAGE_URL": str(project / "store"),  # nothing of this goes to the shared one
        "OMP_NUM_THREADS": threads if threads.isdigit() else kept.get("OMP_NUM_THREADS", "1"),
    }


def run_pipeline(place: Place) -> None:
    """``adasde run`` with the code of the folder; its progress goes to stderr as if it were ours.

    Raises:
        AdaSDEError: it failed; its reason stands above.
    """
    command = [sys.executable, "-m", "adasde", "run", "--json"]
    child = Child(command, cwd=place.project, env=place.environment, errors=sys.stderr)
    try:
        for _ in child.lines():
            pass
        code = child.wait()
    finally:
        child.stop()
        child.wait()
    if code:
        raise AdaSDEError(
            f"the pipeline failed in {place.project} (exit code {code}); its reason stands above. What its "
            "stages have finished is kept: repair the cause and start the same command again."
        )


def _compare(recorded: SourceRun, project: Path) -> Comparison:
    params = load_params(project / "params.yaml")
    hashes, name = graph.output_hashes(project), recorded.student or params.only_student
    document = Outputs(project, params, recorded.nfe, hashes, name).metrics
    return compare.compare(
        recorded.hashes,
        hashes,
        metrics=recorded.metrics,
        measured=dict(measured(document)),
    )


def _other_code(setup: Path, project: Path) -> list[str]:
    """Files that a stage of the run depended on and that were restored otherwise."""
    then, now = graph.code_hashes(setup), graph.code_hashes(project)
    others: dict[str, list[str]] = {}
    for stage, files in now.items():
        for path in (path for path, md5 in files.items() if then.get(stage, {}).get(path, md5) != md5):
            others.setdefault(path, []).append(stage)
    return [
        f"{path} is not the one that {', '.join(stages)} ran with: it was changed while the run went on, or "
        "between its runs"
        for path, stages in others.items()
    ]


def closing_lines(done: Reproduction, *, seconds: float) -> list[str]:
    """What came of it, and where it lies."""
    return [
        f"{compare.summary(done.comparison)}; {seconds:.0f} s",
        f"Folder:      {done.folder}",
        f"Remove it:   git worktree remove --force {done.folder}",
    ]
