"""What is promised about installing: few imports in the core, a plain lock, no state outside the project."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, entry_points
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
ONLY_CORE = """
import sys
import numpy, torch, safetensors.torch

core = {"adasde", "numpy", "safetensors", "torch"}
of_torch = {"filelock", "fsspec", "jinja2", "markupsafe", "mpmath", "networkx", "sympy", "typing_extensions"}
there = {name.partition(".")[0] for name in sys.modules}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in core | of_torch | there | sys.stdlib_module_names:
            return None
        raise ModuleNotFoundError(f"{name} is not part of the core", name=name)

sys.meta_path.insert(0, Refuse())
"""


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_blocker_blocks() -> None:
    with pytest.raises(AssertionError, match="pydantic is not part of the core"):
        python(ONLY_CORE + "import pydantic")


def test_core_and_models_need_torch_numpy_safetensors_only() -> None:
    code = """
import torch
import adasde
from adasde.evaluation.features import load_features
from adasde.models import load_model
model = load_model("digits")
load_features("digits")
noise = adasde.latents([0, 1], model.shape)
sigmas = adasde.schedule("time_uniform", 2, rho=1.0)
images = adasde.sample(model.denoise, noise, adasde.neutral(sigmas, afs=True))
assert images.shape == noise.shape
print("ok")
"""
    assert python(ONLY_CORE + code).strip() == "ok"


def test_import_loads_nothing_beyond_what_torch_loads() -> None:
    code = """
import sys
import torch, safetensors.torch
before = set(sys.modules)
import adasde
for name in adasde.__all__:
    getattr(adasde, name)
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(new - set(sys.stdlib_module_names) - {"torch", "numpy"}))
"""
    assert python(code).strip() == "['adasde']"


def test_the_command_line_starts_without_heavy_imports() -> None:
    code = """
import sys
sys.argv = ["adasde", "--help"]
from adasde.cli.main import main
try:
    main()
except SystemExit:
    pass
heavy = {"torch", "numpy", "prefect", "mlflow", "dvc", "matplotlib", "sklearn", "pydantic"} & set(sys.modules)
print("loaded:", sorted(heavy))
"""
    out = python(code)
    assert "run" in out
    assert out.strip().endswith("loaded: []")


def test_orchestration_is_found_by_its_entry_point() -> None:
    (point,) = [point for point in entry_points(group="adasde.commands") if point.name == "run"]
    assert callable(point.load())


def test_lock_has_only_pinned_names() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert len(lines) > 100
    assert [
        line for line in lines if not re.fullmatch(r"[a-z0-9.-]+(\[[a-z0-9,-]+\])?==[0-9][a-z0-9.]*", line)
    ] == []
    assert [line for line in lines if line.startswith(("nvidia", "triton", "cuda"))] == []


def test_lock_has_all_that_the_project_asks_for() -> None:
    locked = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *extras["pipeline"], *extras["dev"]]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(locked[wanted.name.lower()]), text


def package_data(package: str) -> list[str]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"][package]


@pytest.mark.parametrize("package", ["adasde", "flows"])
def test_types_are_shipped(package: str) -> None:
    assert "py.typed" in package_data(package)
    assert (ROOT / package / "py.typed").is_file()


def test_weights_are_package_data() -> None:
    patterns = package_data("adasde")
    shipped = {path for pattern in patterns for path in (ROOT / "adasde").glob(pattern) if path.is_file()}
    weights = {path for path in (ROOT / "adasde/models/families/toy/weights").rglob("*") if path.is_file()}
    assert weights
    assert weights <= shipped


def test_license_is_apache() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert distribution("adasde").metadata["License-Expression"] == "Apache-2.0"


def test_import_makes_nothing(tmp_path: Path) -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in ("adasde", "flows")
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name not in ("__main__.py", "__init__.py")
    ]
    of_prefect = tuple(
        f"flows.{name}"
        for name in (
            "pipeline.flow",
            "pipeline.artifacts",
            "registry.flow",
            "sweep.flow",
            "sweep.trial",
        )
    )
    # on import of diffusers torch's compiler notes where its cache is
    of_diffusers = tuple(f"adasde.integrations.{name}" for name in ("diffusers", "fitting", "comfyui.nodes"))
    code = f"""
import importlib, json, os, sys
os.environ.update(HOME={str(tmp_path)!r}, PREFECT_HOME={str(tmp_path / ".prefect")!r}, DO_NOT_TRACK="true")
os.chdir({str(tmp_path)!r})
before = dict(os.environ)
for name in {[m for m in modules if m not in of_prefect + of_diffusers]!r}:
    importlib.import_module(name)
print(json.dumps([k for k in os.environ if os.environ[k] != before.get(k)]))
"""
    assert json.loads(python(code)) == []
    assert list(tmp_path.iterdir()) == []
