"""Metrics of every row of samples."""

from __future__ import annotations

from pathlib import Path

from adasde.config.params import STUDENT, Params, row_file
from adasde.errors import DataError
from adasde.evaluation.protocol import Evaluator
from adasde.models.loading import load_model
from adasde.types import Summary
from adasde.utils.atomic_io import write_json
from adasde.utils.manifest import Manifest
from adasde.utils.progress import track
from adasde.utils.safetensors_io import load_images


def evaluate(
    params: Params, nfe: int, *, checkpoint: Path, samples: Path, reference: Path, out: Path
) -> Summary:
    """Write FID (mean, spread, values), KID, precision, recall and measured NFE of every row to ``out``.

    Raises:
        CheckpointError: the extractor cannot be loaded.
        DataError: samples or reference are missing, damaged, or made from other seeds or weights.
    """
    manifest = Manifest.load(samples)
    manifest.verify()
    _check_origin(manifest, params, checkpoint=checkpoint)
    evaluator = Evaluator.load(params, checkpoint=checkpoint, folder=reference)
    rows = {}
    with track(len(manifest.entries), f"evaluate@{nfe}", "rows") as advance:
        for label in (STUDENT, *params.baselines):
            if entry := manifest.entries.get(row_file(label)):
                rows[label] = evaluator.row(load_images(samples / row_file(label)), nfe=entry["nfe"])
                advance(note=label)
    write_json(out, evaluator.document(rows) | {"nfe": nfe})
    best = min(rows, key=lambda label: rows[label]["fid"]["mean"])
    return {"out": str(out), "rows": len(rows), "best": best, "fid": rows[best]["fid"]["mean"]}


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
