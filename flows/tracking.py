"""One MLflow run per model and NFE, found again by a fingerprint of the outputs that it shows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adasde.files import sha256_json
from flows import graph
from flows.mlflow_home import experiment_id, open_client
from flows.provenance import Provenance
from flows.record import BUNDLE, Outputs, log_files, log_numbers
from flows.registry import ensure_challenger, registered_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

VOLATILE = ".timing.json"
"""How outputs end that differ between runs which compute the same."""


@dataclass(frozen=True)
class Tracked:
    """The run of one NFE, the registered version of its coefficients, and whether both were new."""

    nfe: int
    run_id: str
    model: str
    version: str
    new: bool


def track(project: Path, *, flow_run_id: str) -> list[Tracked]:
    """Make sure that the present outputs of every NFE have their run and their registered version.

    Raises:
        DataError: an output of the pipeline is missing or damaged.
        AdaSDEError: MLflow cannot be reached, or its database cannot be used.
    """
    from adasde.params import load_params

    params = load_params(project / "params.yaml")
    hashes, made = graph.output_hashes(project), Provenance(project)
    with chdir(project), open_client(os.environ["MLFLOW_TRACKING_URI"]) as client:
        experiment = experiment_id(client, f"adasde-{params.model_name}", project=project)
        every = [Outputs(project, params, nfe, hashes) for nfe in params.nfe]
        return [_track_one(client, experiment, one, made, flow_run_id=flow_run_id) for one in every]


def _track_one(
    client: MlflowClient, experiment: str, outputs: Outputs, made: Provenance, *, flow_run_id: str
) -> Tracked:
    mark = fingerprint(outputs.hashes, outputs.nfe)
    known = _find(client, experiment, mark)
    tags = {"fingerprint": mark, "prefect_flow_run_id": flow_run_id}
    run_id = known or _log(client, experiment, outputs, made, tags=tags)
    name = registered_name(outputs.params.model_name, outputs.nfe)
    source = f"runs:/{run_id}/{BUNDLE}"
    version = ensure_challenger(client, name, run_id, source=source, tags=outputs.scores())
    return Tracked(outputs.nfe, run_id, name, version, new=known is None)


def fingerprint(hashes: Mapping[str, Mapping[str, str]], nfe: int) -> str:
    """SHA-256 over the MD5s of all reproducible outputs that the numbers of ``nfe`` come from."""
    outs = graph.belonging(hashes, nfe)
    return sha256_json({path: md5 for path, md5 in outs.items() if not path.endswith(VOLATILE)})


def _close_unfinished(client: MlflowClient, experiment: str, mark: str) -> None:
    """Runs of these outputs whose process died while it logged them."""
    query = f"tags.fingerprint = '{mark}' and attributes.status = 'RUNNING'"
    for run in client.search_runs([experiment], query):
        client.set_terminated(run.info.run_id, "KILLED")


def _find(client: MlflowClient, experiment: str, mark: str) -> str | None:
    query = f"tags.fingerprint = '{mark}' and attributes.status = 'FINISHED'"
    runs = client.search_runs([experiment], query, max_results=1)
    return runs[0].info.run_id if runs else None


def _log(
    client: MlflowClient, experiment: str, outputs: Outputs, made: Provenance, *, tags: Mapping[str, str]
) -> str:
    """Log everything into a run, which counts as there only once it is whole; returns its id."""
    name = f"{outputs.params.model_name} nfe{outputs.nfe} FID {outputs.student['fid']['mean']:.3f}"
    _close_unfinished(client, experiment, tags["fingerprint"])
    run = client.create_run(experiment, run_name=name, tags={**outputs.tags(), **made.tags, **tags})
    run_id = run.info.run_id
    try:
        log_numbers(client, run_id, outputs)
        log_files(client, run_id, outputs)
        made.log_files(client, run_id)
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id)
    return run_id
