"""The code that decides the bytes of every stage: what dvc.yaml names, and what fingerprints contain."""

from __future__ import annotations

from pathlib import Path

from adasde.utils.atomic_io import sha256_file, sha256_json

PACKAGE = Path(__file__).parents[1]


def _files(folder: str, names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}.py" for name in names.split())


COMMON, UTILS = _files("stages", "common"), _files("utils", "batching manifest pixels")
GRIDS = _files("sampling", "noise schedules wrappers")
LOADING = ("models/core", "models/loading.py")
DENOISERS = (*LOADING, *(f"models/families/{name}" for name in ("adm", "diffusers", "edm", "ldm", "toy")))
NETWORKS = (*LOADING, "models/families")

CODE: dict[str, tuple[str, ...]] = {
    "fetch": ("models", *_files("sampling", "schedules wrappers")),
    "reference": (*COMMON, "evaluation", "distillation/energy.py", "sampling", *NETWORKS, UTILS[0], UTILS[2]),
    "teacher": (*COMMON, *_files("distillation", "teacher shards"), "sampling", *DENOISERS, *UTILS),
    "distill": (
        *(*COMMON, "stages/teacher.py", "distillation", "evaluation/features.py", "sampling"),
        *(*DENOISERS, "models/families/inception", *UTILS),
    ),
    "sample": (*COMMON, "sampling", *DENOISERS, *UTILS),
    "evaluate": ("evaluation", *GRIDS, *NETWORKS, *UTILS[1:]),
    "report": ("report", "sampling", UTILS[1]),
}
"""Stage -> the files and folders of the package that it runs, beside its own module.

Tests compare them with dvc.yaml and with the imports.
"""


def code_of(stage: str) -> list[str]:
    """Files and folders of the package that decide what ``stage`` writes."""
    return [f"stages/{stage}.py", *CODE[stage]]


def code_hash(stage: str) -> str:
    """Hex SHA-256 of the Python files of ``code_of(stage)``."""
    files = {file for name in code_of(stage) for file in _python(PACKAGE / name)}
    return sha256_json([[file.relative_to(PACKAGE).as_posix(), sha256_file(file)] for file in sorted(files)])


def _python(path: Path) -> list[Path]:
    return list(path.rglob("*.py")) if path.is_dir() else [path]
