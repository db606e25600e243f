"""One MLflow run per model, student and NFE, found again by a fingerprint of the outputs that it shows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from adasde.report.results import chosen
from adasde.utils.atomic_io import sha256_json
from flows.dvc import graph
from flows.tracking.client import experiment_id, open_client
from flows.tracking.payload import BUNDLE, UNNAMED, Outputs, describe, log_files, log_numbers
from flows.tracking.provenance.provenance import Provenance
from flows.tracking.run_names import differences, solver_label
from flows.tracking.versions import ensure_challenger, registered_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SWEEP = "sweep"
"""The tag that runs of a sweep have, with its number."""

TRIAL = "trial"
"""The tag of those that are a trial, with its folder."""

VOLATILE = ".timing.json"
"""Suffix of outputs that differ between equal runs (wall times)."""


@dataclass(frozen=True)
class Tracked:
    """The run of a student at one NFE, and whether it was new.

    ``version``: of its coefficients, where it is the best student and so the challenger; otherwise empty.
    """

    nfe: int
    run_id: str
    model: str
    version: str
    new: bool
    student: str = ""


def load_libraries() -> None:
    """Import what ``track`` needs, seconds of CPU time that fit beside the stage ``fetch``."""
    import mlflow.models
    import mlflow.pyfunc
    import mlflow.store.model_registry.sqlalchemy_store
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def track(project: Path, *, flow_run_id: str) -> list[Tracked]:
    """Ensure that the outputs of every student and NFE have a run, and the best student of an NFE a version.

    The best one is that with the lowest FID on validation seeds; it becomes the challenger.

    Raises:
        DataError: an output of the pipeline is missing or damaged.
        AdaSDEError: MLflow cannot be reached, or its database cannot be used.
    """
    from adasde.config.params import load_params

    params = load_params(project / "params.yaml")
    hashes, made = graph.output_hashes(project), Provenance(project)
    with chdir(project), open_client(os.environ["MLFLOW_TRACKING_URI"]) as client:
        experiment = experiment_id(client, f"adasde-{params.model_name}", project=project)
        every = [
            Outputs(project, params, nfe, hashes, name) for nfe in params.nfe for name in params.students
        ]
        return [_track_one(client, experiment, one, made, flow_run_id=flow_run_id) for one in every]


def _track_one(
    client: MlflowClient, experiment: str, outputs: Outputs, made: Provenance, *, flow_run_id: str
) -> Tracked:
    known = find_run(client, experiment, outputs)
    about = about_run(client, experiment, outputs)
    tags = {"prefect_flow_run_id": flow_run_id}
    run_id = known or log_run(client, experiment, outputs, made, about=about, tags=tags)
    name = registered_name(outputs.params.model_name, outputs.nfe)
    version = ""
    if outputs.label == chosen(outputs.metrics["students"]):
        source = f"runs:/{run_id}/{BUNDLE}"
        version = ensure_challenger(client, name, run_id, source=source, tags=outputs.scores())
    return Tracked(outputs.nfe, run_id, name, version, known is None, outputs.name)


def fingerprint(outputs: Outputs) -> str:
    """SHA-256 over the reproducible outputs that the numbers of a run come from.

    Of the metrics file it has the student's row and the protocol: the rows of other students are not its own.
    """
    shared = f"data/metrics/nfe{outputs.nfe}.json"
    outs = graph.belonging(outputs.hashes, outputs.name, outputs.nfe)
    kept = {path: md5 for path, md5 in outs.items() if not path.endswith(VOLATILE) and path != shared}
    return sha256_json([kept, outputs.student, outputs.metrics["protocol_hash"]])


def find_run(
    client: MlflowClient, experiment: str, outputs: Outputs, of: Mapping[str, str] = MappingProxyType({})
) -> str | None:
    """Id of the finished run of these outputs, or None; ``of`` (tags) selects a trial of a sweep."""
    runs = _runs(client, experiment, outputs, of, status="FINISHED")
    return str(runs[0].info.run_id) if runs else None


def _runs(
    client: MlflowClient, experiment: str, outputs: Outputs, tags: Mapping[str, str], *, status: str
) -> list[Run]:
    wanted = {"fingerprint": fingerprint(outputs), **tags}
    words = [f"tags.`{name}` = '{value}'" for name, value in wanted.items()]
    found = client.search_runs([experiment], " and ".join([*words, f"attributes.status = '{status}'"]))
    return [run for run in found if tags or SWEEP not in run.data.tags]


def about_run(client: MlflowClient, experiment: str, outputs: Outputs) -> str:
    """Name of a run: model, budget, row label, solver, and the settings that changed since the last one."""
    tags = {"model": outputs.params.model_name, "nfe": str(outputs.nfe), "student": outputs.name}
    words = [f"tags.{name} = '{value}'" for name, value in tags.items()]
    query = " and ".join([*words, "attributes.status = 'FINISHED'"])
    runs = [run for run in client.search_runs([experiment], query) if SWEEP not in run.data.tags]
    new = differences(outputs.settings(), runs[0].data.params if runs else {})
    named = "" if outputs.name == UNNAMED else outputs.name
    label = solver_label(outputs.budget.params.distill)
    return " ".join(filter(None, (tags["model"], f"nfe{outputs.nfe}", named, label, new)))


def log_run(
    client: MlflowClient,
    experiment: str,
    outputs: Outputs,
    made: Provenance,
    *,
    about: str,
    tags: Mapping[str, str],
) -> str:
    """Log everything into a run, which counts only once it is finished; returns its id.

    Its name is ``about`` with the FID; the run of these ``tags`` whose process died is closed first.
    """
    of = {name: tags[name] for name in (SWEEP, TRIAL) if name in tags}
    for run in _runs(client, experiment, outputs, of, status="RUNNING"):
        client.set_terminated(run.info.run_id, "KILLED")
    mark = {"fingerprint": fingerprint(outputs)}
    name = f"{about} FID {outputs.student['fid']['mean']:.3f}"
    source = {"mlflow.source.type": "LOCAL", "mlflow.source.name": "adasde sweep" if of else "adasde run"}
    every = outputs.tags() | made.tags | mark | source | dict(tags)
    run = client.create_run(experiment, run_name=name, tags=every)
    run_id = run.info.run_id
    try:
        log_numbers(client, run_id, outputs)
        log_files(client, run_id, outputs)
        describe(client, run_id, outputs)
        made.log_files(client, run_id)
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id)
    return run_id
