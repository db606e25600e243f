"""Content of an MLflow run for a student at one NFE: metrics, params, files, and where they come from."""

from __future__ import annotations

import csv
import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from adasde.errors import DataError
from adasde.report.results import read_results, results_table
from adasde.utils.atomic_io import sha256_file
from flows.dvc import graph
from flows.tracking.provenance.provenance import LOCK
from flows.tracking.pyfunc import write_model
from flows.tracking.run_names import solver_label

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    from adasde.config.params import Budget, Params

BUNDLE = "coefficients"
"""The folder of a run that becomes the registered version."""

NOT_COMPARED = {"baselines", "nfe", "promotion", "recipes", "storage", "students"}
"""Sections of params.yaml that are not logged as params of a run."""

UNNAMED = "custom"
"""The student of a params.yaml that names none (``recipes.CUSTOM``, which would load torch here)."""

BATCH = 1000

NOTE = "mlflow.note.content"
"""The tag that MLflow's pages show as a description."""

SMALL = 640
"""Width in pixels of the widest picture that fits a description."""


@dataclass(frozen=True)
class Outputs:
    """The outputs of the pipeline that belong to a student at one NFE.

    Attributes:
        hashes: stage name -> path -> MD5, of all stages.
    """

    project: Path
    params: Params
    nfe: int
    hashes: Mapping[str, Mapping[str, str]]
    name: str = UNNAMED

    @cached_property
    def budget(self) -> Budget:
        """The values of the student at this NFE."""
        return self.params.at(self.nfe, self.name)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The metrics file, and in ``student`` the label of the student's row."""
        document = read_json(self.project / f"data/metrics/nfe{self.nfe}.json")
        facts = document.get("students", {})
        labels = [label for label in facts if facts[label]["name"] == self.name]
        if not labels:
            where = f"data/metrics/nfe{self.nfe}.json"
            raise DataError(f"{where} has no row of the student {self.name}. Run the stage evaluate.")
        return document | {"student": labels[0]}

    @property
    def measured(self) -> bool:
        """Whether the metrics file exists."""
        return (self.project / f"data/metrics/nfe{self.nfe}.json").is_file()

    @property
    def label(self) -> str:
        """Label of the student's row."""
        return str(self.metrics["student"])

    @cached_property
    def timing(self) -> dict[str, Any]:
        """Solver label -> wall time and measured evaluations."""
        return read_json(self.project / f"data/samples/nfe{self.nfe}.{self.name}.timing.json")

    @property
    def distilled(self) -> Path:
        """The folder with coefficients.json and loss.csv."""
        return self.project / f"data/distill/nfe{self.nfe}/{self.name}"

    @property
    def student(self) -> dict[str, Any]:
        """The numbers of the distilled solver."""
        return self.metrics["rows"][self.label]

    def scores(self) -> dict[str, str]:
        """Metrics, protocol and the SHA-256 of the coefficients as the tags of a registered version."""
        values = {name: f"{value:.6g}" for name, value in numbers(self.student).items()}
        sha256 = sha256_file(self.distilled / "coefficients.json")
        protocol = self.metrics["protocol_hash"]
        return values | {"protocol_hash": protocol, "sha256": sha256, **self._identity}

    @property
    def _identity(self) -> dict[str, str]:
        """Budget, student and recipe, as params and tags."""
        return {"nfe": str(self.nfe), "student": self.name, "recipe": self.budget.recipe}

    def settings(self) -> dict[str, str]:
        """The params of a run by dotted name; those of other budgets and of the baselines left out."""
        values = self.budget.params.model_dump(exclude=NOT_COMPARED)
        return {name: str(value) for name, value in flatten(values)} | self._identity

    def tags(self) -> dict[str, str]:
        """Identity of the outputs: dvc.lock, MD5 of each stage's outputs, protocol."""
        lock = hashlib.md5((self.project / "dvc.lock").read_bytes()).hexdigest()
        belonging = graph.belonging(self.hashes, self.name, self.nfe)
        return {
            "model": self.params.model_name,
            **self._identity,
            "solver": solver_label(self.budget.params.distill),
            "dvc_lock_md5": lock,
            "protocol_hash": self.metrics["protocol_hash"],
            **{f"md5/{path}": md5 for path, md5 in belonging.items()},
        }


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of the pipeline (DataError where it is missing or damaged)."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}). Delete it and run the pipeline again.") from error


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row of metrics, flat: ``{"fid": {"mean", "spread"}}`` -> ``fid``, ``fid_spread``.

    Without ``fid_spread`` where the spread is None.
    """
    flat: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            flat[name] = value["mean"]
            flat |= {} if value["spread"] is None else {f"{name}_spread": value["spread"]}
        elif isinstance(value, int | float):
            flat[name] = value
    return flat


def slug(label: str) -> str:
    """A solver's label as part of a metric's name: ``DPM-Solver++(2M) + AFS`` -> ``DPM-Solverpp-2M-AFS``."""
    words = "".join(c if c.isalnum() else " " for c in label.replace("++", "pp").replace("-", "_"))
    return "-".join(words.replace("_", "-").split())


def log_numbers(client: MlflowClient, run_id: str, outputs: Outputs) -> None:
    """Params, metrics of the student, FID of every baseline and of every seed range, loss by node.

    FID comes first: it is what MLflow's comparison then shows.
    """
    from mlflow.entities import Param

    params = [Param(name, value) for name, value in outputs.settings().items()]
    metrics = [*_metrics(outputs), *_losses(outputs.distilled / "loss.csv")]
    client.log_batch(run_id, params=params)
    for start in range(0, len(metrics), BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + BATCH])


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``{"distill": {"lr": 0.1}}`` -> ``("distill.lr", 0.1)``; empty mappings vanish."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def measured(document: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of ``Outputs.metrics`` that MLflow gets, by their names there.

    All of the student (``fid``, ``kid``, …; the budget is a param), FID of the others (``fid/DDIM-Euler``);
    more would make comparisons unreadable, and is in metrics.json.
    """
    for label, row in document["rows"].items():
        for name, value in numbers(row).items():
            if label == document["student"] and name != "nfe":
                yield name, value
            elif label not in document["students"] and name == "fid":
                yield f"fid/{slug(label)}", value


def _metrics(outputs: Outputs) -> Iterator[Metric]:
    now = int(time.time() * 1000)
    for name, value in measured(outputs.metrics):
        yield _metric(name, value, now)
    seconds = outputs.timing.get(outputs.label, {}).get("seconds")
    if seconds is not None:
        yield _metric("wall_seconds", seconds, now)
    for index, value in enumerate(outputs.student["fid"]["values"]):
        yield _metric("fid_by_seed_range", value, now, step=index)


def _losses(path: Path) -> Iterator[Metric]:
    now = int(time.time() * 1000)
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            step = int(row.pop("iteration"))
            for node, loss in row.items():
                yield _metric(f"loss/{node}", float(loss), now, step=step)


def _metric(name: str, value: float, when: int, *, step: int = 0) -> Metric:
    from mlflow.entities import Metric

    return Metric(name, value, when, step)


def image_link(run_id: str, path: str) -> str:
    """Markdown of a run's picture for a description in MLflow's pages."""
    return f"![{Path(path).stem}](get-artifact?path={quote(path, safe='')}&run_uuid={run_id})"


def describe(client: MlflowClient, run_id: str, outputs: Outputs) -> None:
    """Write the run's description: the results table and a small picture of the samples."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder, "samples-small.png")
        with Image.open(outputs.project / "report" / f"samples-nfe{outputs.nfe}.png") as picture:
            picture.thumbnail((SMALL, SMALL))
            picture.save(small)
        client.log_artifact(run_id, str(small), "report")
    text = results_table(read_results(outputs.project)).markdown()
    client.set_tag(run_id, NOTE, f"{text}\n\n{image_link(run_id, f'report/{small.name}')}")


def log_files(client: MlflowClient, run_id: str, outputs: Outputs) -> None:
    """The MLflow model that is registered, loss curves, plots and the sample grid."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / BUNDLE
        bundle.mkdir()
        coefficients = outputs.distilled / "coefficients.json"
        (bundle / coefficients.name).write_bytes(coefficients.read_bytes())
        (bundle / "metrics.json").write_text(json.dumps(outputs.metrics, indent=1), encoding="utf-8")
        write_model(bundle, run_id=run_id, path=BUNDLE, lock=outputs.project / LOCK)
        client.log_artifacts(run_id, str(bundle), BUNDLE)
    client.log_artifact(run_id, str(outputs.distilled / "loss.csv"), "distill")
    report = outputs.project / "report"
    others = {f"samples-nfe{nfe}.png" for nfe in outputs.params.nfe if nfe != outputs.nfe}
    for path in sorted(report.iterdir()):
        if path.name not in others:
            client.log_artifact(run_id, str(path), "report")
