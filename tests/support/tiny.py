"""A params.yaml whose whole pipeline takes seconds, and the commands of that pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def tiny_values() -> dict[str, Any]:
    """The mapping of a params.yaml whose whole pipeline takes seconds."""
    return {
        "model": "digits",
        "nfe": [3],
        "teacher": {"inserted": 1, "substeps": 1, "trajectories": 48, "shard": 16, "batch": 8},
        "distill": {"trajectories": 64, "batch": 16},
        "sample": {"images": 40, "ranges": 2, "batch": 50},
        "evaluate": {"kid_subsets": 2, "kid_subset_size": 20, "neighbourhood": 3, "floor_steps": 6},
        "baselines": {
            "DDIM (Euler)": {"solver": "euler"},
            "Heun + AFS": {"solver": "heun", "afs": True, "schedule": "polynomial", "rho": 7.0},
        },
    }


def write_params(folder: Path, values: dict[str, Any]) -> Path:
    """``folder``/params.yaml with ``values``."""
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


STAGES: dict[str, list[str]] = {
    "fetch": ["fetch"],
    "reference": ["reference"],
    "plan": ["plan"],
    "teacher": ["teacher", "--nfe", "3"],
    "distill": ["distill", "--nfe", "3"],
    "sample": ["sample", "--nfe", "3"],
    "baselines": ["sample", "--baselines", "--nfe", "3"],
    "evaluate": ["evaluate", "--nfe", "3"],
    "report": ["report"],
}
"""One command of every stage, in an order in which they can run in an empty project."""

OUTPUTS: dict[str, list[str]] = {
    "fetch": ["data/checkpoint"],
    "reference": ["data/reference", "data/metrics/floor.json"],
    "plan": ["data/plan"],
    "teacher": ["data/teacher/nfe3/custom"],
    "distill": ["data/distill/nfe3/custom"],
    "sample": ["data/samples/nfe3/custom", "data/samples/nfe3.custom.timing.json"],
    "baselines": ["data/samples/nfe3/baselines", "data/samples/nfe3.baselines.timing.json"],
    "evaluate": ["data/metrics/nfe3.json"],
    "report": ["report"],
}
"""What the command of every stage writes."""
