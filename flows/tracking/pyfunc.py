"""Registered versions as MLflow models (models from code, no pickle): images for seeds."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from adasde.utils.version import VERSION
from flows.tracking.provenance.machine import PINNED, installed
from flows.tracking.resolver import COEFFICIENTS

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

CODE = "adasde_model.py"
EXAMPLE = {"columns": ["seed"], "data": [[0], [1]]}
"""The input example: two seeds."""

NEEDED = (
    *("torch", "numpy", "safetensors", "pydantic", "pyyaml", "jinja2", "rich", "tqdm", "typer"),
    *("mlflow", "pandas", "pillow"),
)
"""Packages that a server of the model needs; ``adasde`` itself needs those of the first line."""


def signature() -> ModelSignature:
    """Seeds to images, base64 of a PNG.

    Every model has the optional columns, also one that refuses them: what a signature does not have MLflow
    drops with a warning, and an image of another class than was asked for would come.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    optional = [
        ColSpec(DataType.long, "class", required=False),
        ColSpec(DataType.string, "prompt", required=False),
    ]
    sizes = [ColSpec(DataType.long, name) for name in ("height", "width")]
    inputs = Schema([ColSpec(DataType.long, "seed"), *optional])
    return ModelSignature(inputs=inputs, outputs=Schema([ColSpec(DataType.string, "image"), *sizes]))


def requirements(lock: Path) -> list[str]:
    """Requirements, pinned as in ``lock``, else at the installed version."""
    pinned: Mapping[str, str] = {}
    if lock.is_file():
        pinned = {name.lower(): version for name, version in PINNED.findall(lock.read_text(encoding="utf-8"))}
    here = {name: (installed(name) or "").partition("+")[0] for name in NEEDED}
    found = {name: pinned.get(name) or here[name] for name in NEEDED}
    return [f"adasde=={VERSION}", *(f"{name}=={version}" for name, version in found.items() if version)]


def write_model(folder: Path, *, run_id: str, path: str, lock: Path) -> None:
    """Make an MLflow model of ``folder``, which has the coefficients; the network's weights are not copied.

    ``path`` is the folder's name among the files of the run. Loaded, it takes the settings ``model`` and
    ``device`` (``model_config``).
    """
    from mlflow.models import Model
    from mlflow.pyfunc import add_to_model

    shutil.copyfile(Path(__file__).with_name("pyfunc_code.py"), folder / CODE)
    example = _write_example(folder)
    environment = _write_environment(folder, lock)
    model = Model(artifact_path=path, run_id=run_id, signature=signature(), saved_input_example_info=example)
    add_to_model(
        model,
        loader_module="mlflow.pyfunc.loaders.code_model",
        model_code_path=CODE,
        model_config={"model": None, "device": None},
        artifacts={"coefficients": {"path": COEFFICIENTS, "uri": COEFFICIENTS}},
        python_env=environment,
        streamable=False,
    )
    model.save(str(folder / "MLmodel"))


def _write_example(folder: Path) -> dict[str, Any]:
    """Write the input example for people and for requests; how MLmodel describes it."""
    files = {"input_example.json": EXAMPLE, "serving_input_example.json": {"dataframe_split": EXAMPLE}}
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
    example, request = files
    described = {"artifact_path": example, "serving_input_path": request}
    return described | {"type": "dataframe", "pandas_orient": "split"}


def _write_environment(folder: Path, lock: Path) -> str:
    """Write the requirements and the environment file; the name of the latter."""
    (folder / "requirements.txt").write_text("\n".join(requirements(lock)) + "\n", encoding="utf-8")
    how = {
        "python": platform.python_version(),
        "build_dependencies": ["pip"],
        "dependencies": ["-r requirements.txt"],
    }
    (folder / "python_env.yaml").write_text(yaml.safe_dump(how, sort_keys=False), encoding="utf-8")
    return "python_env.yaml"
