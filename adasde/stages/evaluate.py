"""Metrics of every row of samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adasde.config.params import Params, row_file
from adasde.config.students import BASELINES
from adasde.errors import DataError
from adasde.evaluation.protocol import Evaluator
from adasde.models.loading import load_model
from adasde.types import Summary
from adasde.utils.atomic_io import write_json
from adasde.utils.manifest import Manifest
from adasde.utils.progress import track
from adasde.utils.safetensors_io import load_images, load_tensors


def evaluate(
    params: Params, nfe: int, *, checkpoint: Path, samples: Path, reference: Path, out: Path
) -> Summary:
    """Write FID (mean, spread, values), KID, precision, recall and measured NFE of every row to ``out``.

    ``samples`` has a folder for every student and one for the baselines. Facts about the students, and their
    FID on validation seeds, stand beside the rows.

    Raises:
        CheckpointError: the extractor cannot be loaded.
        DataError: samples or reference are missing, damaged, or made from other seeds or weights.
    """
    folders = [*params.students, *([BASELINES] if params.rows(nfe) else [])]
    manifests = [Manifest.load(samples / name) for name in folders]
    for manifest in manifests:
        manifest.verify()
        _check_origin(manifest, params, checkpoint=checkpoint)
    evaluator = Evaluator.load(params, checkpoint=checkpoint, folder=reference)
    rows: dict[str, Any] = {}
    students: dict[str, Any] = {}
    with track(sum(len(one.entries) for one in manifests), f"evaluate@{nfe}", "rows") as advance:
        for manifest in manifests:
            for file, entry in _ordered(manifest, params):
                label, path = entry["label"], manifest.folder / file
                rows[label] = evaluator.row(load_images(path), nfe=entry["nfe"])
                if (student := entry.get("student")) is not None:
                    images = load_tensors(path).get("validation")
                    fid = None if images is None else evaluator.fid(images)
                    students[label] = student | {"validation_fid": fid}
                advance(note=label)
    write_json(out, evaluator.document(rows) | {"nfe": nfe, "students": students})
    best = min(rows, key=lambda label: rows[label]["fid"]["mean"])
    return {"out": str(out), "rows": len(rows), "best": best, "fid": rows[best]["fid"]["mean"]}


def _ordered(manifest: Manifest, params: Params) -> list[tuple[str, dict[str, Any]]]:
    """Entries in the order of params.yaml."""
    places = {row_file(label): place for place, label in enumerate(params.baselines)}
    return sorted(manifest.entries.items(), key=lambda item: places.get(item[0], -1))


def _check_origin(manifest: Manifest, params: Params, *, checkpoint: Path) -> None:
    """Raise unless the samples have the seeds, weights and classes of ``params`` and ``checkpoint``."""
    seeds = params.sample.seeds
    wanted = {"seeds": [seeds.start, seeds.stop], "sha256": load_model(checkpoint).sha256}
    about = {"classes": "balanced", **(manifest.about or {})}
    for name, value in {**wanted, "classes": params.sample.classes}.items():
        if about.get(name) != value:
            raise DataError(
                f"{manifest.folder} was sampled with other {name} than params.yaml and the checkpoint say. "
                "Run the stage sample again."
            )
