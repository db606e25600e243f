"""DVC's graph of stages, which of them are unchanged, and the hashes of their outputs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from adasde.errors import AdaSDEError

_one_at_a_time = threading.Lock()
"""Held while DVC's Python interface is used, which is not thread-safe."""


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml.

    Attributes:
        name: in full (``distill@paper-5``).
        needs: the stages that it needs the outputs of.
        params: the keys of params.yaml that it depends on.
        outs: what it writes, as paths in the project.
        files: what it depends on that no stage writes, as paths in the project.
    """

    name: str
    needs: tuple[str, ...]
    params: tuple[str, ...] = ()
    outs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def read_stages(project: Path) -> dict[str, Stage]:
    """Every stage by name, each after those that it needs.

    Raises:
        AdaSDEError: dvc.yaml or params.yaml cannot be read.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from networkx import lexicographical_topological_sort

    try:
        with _one_at_a_time, Repo(str(project)) as repo:
            graph = repo.index.graph  # an edge leads from a stage to what it needs
            order = list(lexicographical_topological_sort(graph.reverse(), key=lambda stage: stage.name))
            written = {out.def_path for stage in order for out in stage.outs}
            return {
                stage.name: _stage(stage, [n.name for n in graph.successors(stage)], written)
                for stage in order
            }
    except DvcException as error:
        raise AdaSDEError(f"DVC cannot read the stages of {project}: {error}") from error


def _stage(stage: Any, needs: Iterable[str], written: Collection[str]) -> Stage:
    """The stage of DVC's; ``written`` are the paths that some stage writes."""
    files = [dep.def_path for dep in stage.deps if not hasattr(dep, "params")]
    return Stage(
        stage.name,
        tuple(needs),
        params=tuple(key for dep in stage.deps for key in getattr(dep, "params", ())),
        outs=tuple(out.def_path for out in stage.outs),
        files=tuple(path for path in files if not any(_within(path, out) for out in written)),
    )


def _within(path: str, folder: str) -> bool:
    """Whether they share files: one is the other, or in it."""
    return f"{path}/".startswith(f"{folder}/") or f"{folder}/".startswith(f"{path}/")


def require_params(project: Path) -> None:
    """Check that params.yaml has every key that dvc.yaml names; DVC knows no defaults.

    Raises:
        AdaSDEError: names those that are missing.
    """
    stages = _read_yaml(project / "dvc.yaml")["stages"].values()
    wanted = dict.fromkeys(key for stage in stages for key in stage.get("params", ()))
    there = _read_yaml(project / "params.yaml")
    missing = [key for key in wanted if not _has(there, key)]
    if missing:
        raise AdaSDEError(
            f"{project / 'params.yaml'} lacks {', '.join(missing)}, which stages of dvc.yaml depend on. "
            f"Add it, empty for the defaults (`{missing[-1]}: {{}}`)."
        )


def _has(values: Any, dotted: str) -> bool:
    """Whether nested mappings have the key ``a.b.c``."""
    for key in dotted.split("."):
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise AdaSDEError(f"{path} is damaged: {error}") from error


def unchanged(project: Path, stages: Mapping[str, Stage], *, env: Mapping[str, str]) -> set[str]:
    """Names of the stages that match dvc.lock, as does everything that they need.

    Raises:
        AdaSDEError: ``dvc status`` fails; the message has its output.
    """
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "status", "--json"]
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AdaSDEError(f"`dvc status` failed in {project}: {done.stderr.strip() or done.stdout.strip()}")
    return settled(stages, json.loads(done.stdout))


def settled(stages: Mapping[str, Stage], changed: Mapping[str, Any]) -> set[str]:
    """Stages that are not ``changed`` and need none that is; ``stages`` as ``read_stages`` orders them."""
    names: set[str] = set()
    for stage in stages.values():
        if stage.name not in changed and names.issuperset(stage.needs):
            names.add(stage.name)
    return names


def output_hashes(project: Path) -> dict[str, dict[str, str]]:
    """Stage name -> {path of an output: its MD5} as dvc.lock has them (a folder's ends in ``.dir``)."""
    return _hashes(project, "outs")


def code_hashes(project: Path) -> dict[str, dict[str, str]]:
    """Stage name -> {path: MD5} of the dependencies that no stage writes: the code."""
    made = {path for outs in output_hashes(project).values() for path in outs}

    def is_made(path: str) -> bool:
        return any(path == one or one.startswith(f"{path}/") or path.startswith(f"{one}/") for one in made)

    return {
        stage: {path: md5 for path, md5 in deps.items() if not is_made(path)}
        for stage, deps in _hashes(project, "deps").items()
    }


def _hashes(project: Path, kind: Literal["deps", "outs"]) -> dict[str, dict[str, str]]:
    if not (project / "dvc.lock").is_file():
        return {}
    lock = _read_yaml(project / "dvc.lock")
    return {
        name: {item["path"]: item["md5"] for item in entry.get(kind, []) if "md5" in item}
        for name, entry in lock["stages"].items()
    }


OF_ALL_STUDENTS = ("plan", "report")
"""Stages that write one output for all students and budgets."""


def belonging(hashes: Mapping[str, Mapping[str, str]], student: str, nfe: int) -> dict[str, str]:
    """Path -> MD5 of the outputs that serve this student at this NFE, and of those that serve all."""
    items = (f"{student}-{nfe}", str(nfe))
    return {
        path: md5
        for stage, outs in hashes.items()
        if stage.partition("@")[2] in items or ("@" not in stage and stage not in OF_ALL_STUDENTS)
        for path, md5 in outs.items()
    }
