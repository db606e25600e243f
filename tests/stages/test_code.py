"""dvc.yaml, the code hashes and the imports agree on the code that every stage runs."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml

from adasde.stages import code
from adasde.stages.code import CODE, SAME, code_hash, code_of

ROOT = Path(__file__).parents[2]
FAMILIES = "adasde.models.families"
PLUMBING = (
    "adasde.errors",
    "adasde.types",
    "adasde.config",  # dvc.yaml names the values of params.yaml
    "adasde.storage",  # what is fetched is verified by its hash
    "adasde.utils",
    "adasde.stages.code",
)
"""Packages that change no byte of a stage."""
TRACKED = tuple(f"adasde.utils.{name}" for name in ("batching", "manifest", "pixels"))
FETCHING = ("adasde.models.hub", "adasde.models.safe_pickle")
"""What they make is the output of ``fetch``, on which the other stages depend."""
BY_NAME = {
    "adasde.models.loading": ("adm", "diffusers", "edm", "ldm", "toy"),
    "adasde.evaluation.features": ("inception", "toy"),
}
"""Families that a module builds by the name in a checkpoint's card."""


def below(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@cache
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("adasde", exclude_type_checking_imports=True, cache_dir=None)


def used(stage: str) -> set[str]:
    """Modules that decide what ``stage`` writes: all that it imports, at once or when it runs."""
    plumbing = PLUMBING if stage == "fetch" else PLUMBING + FETCHING
    if stage == "plan":
        plumbing = tuple(name for name in plumbing if name != "adasde.config")
    found: set[str] = set()
    left = {f"adasde.stages.{SAME.get(stage, stage)}"}
    while left:
        module = left.pop()
        if module in found or (below(module, plumbing) and module not in TRACKED):
            continue
        found.add(module)
        needed = imports().find_modules_directly_imported_by(module)
        if module in BY_NAME and stage != "fetch":  # which converts every family
            needed = {name for name in needed if not below(name, (FAMILIES,))}
            for family in BY_NAME[module]:
                needed |= {f"{FAMILIES}.{family}", *imports().find_descendants(f"{FAMILIES}.{family}")}
        left |= needed
    return found


def stages() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def modules(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


@pytest.mark.parametrize("stage", list(CODE))
def test_a_stage_depends_on_the_code_that_it_imports_and_on_no_other(stage: str) -> None:
    named = tuple(f"adasde.{modules(path)}" for path in code_of(stage))
    reached = used(stage)
    assert {module for module in reached if not below(module, named)} == set(), "missing in CODE"
    assert [name for name in named if not any(below(module, (name,)) for module in reached)] == [], "unused"


def test_dvc_and_the_code_hashes_have_one_list() -> None:
    assert set(stages()) == set(CODE)
    for stage, entry in stages().items():
        named = {path for path in entry["deps"] if path.startswith("adasde/")}
        assert named == {f"adasde/{path}" for path in code_of(stage)}, stage
        assert all((ROOT / path).exists() for path in named)


def test_evaluation_and_the_command_line_never_make_trajectories_again() -> None:
    reached = used("teacher")
    assert not any("vit" in name or "inception" in name or "hub" in name for name in reached)
    assert not any(below(name, ("adasde.evaluation", "adasde.cli", "adasde.report")) for name in reached)


def test_the_hash_is_that_of_the_python_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert code_hash("teacher") != code_hash("sample")
    monkeypatch.setattr(code, "PACKAGE", tmp_path)
    monkeypatch.setitem(CODE, "teacher", ("a.py", "b"))
    for name in ("a.py", "b/deep/c.py", "b/card.yaml", "stages/teacher.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    hashes = []
    for name in (None, "b/card.yaml", "b/deep/c.py", "a.py", "stages/teacher.py"):
        if name:
            (tmp_path / name).write_text("2")
        hashes.append(code_hash("teacher"))
    assert hashes[0] == hashes[1] and len(set(hashes)) == 4
