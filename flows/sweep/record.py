"""A sweep in MLflow: a parent run, a child run for every trial and budget, a version for each best trial."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adasde.errors import AdaSDEError
from adasde.report.results import chosen
from flows.dvc import graph
from flows.sweep.grid import Trial, shown
from flows.sweep.plan import Plan
from flows.sweep.plot import save_picture
from flows.sweep.summary import Score, SweepSummary
from flows.tracking.client import experiment_id, open_client
from flows.tracking.payload import BUNDLE, NOTE, Outputs, image_link, numbers
from flows.tracking.provenance.provenance import Provenance
from flows.tracking.runs import SWEEP, TRIAL, find_run, log_run
from flows.tracking.versions import ensure_challenger, ensure_version, registered_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARENT = "mlflow.parentRunId"
LONGEST_NOTE = 8000
PICTURE = "sweep.png"


@dataclass(frozen=True)
class SweepRecord:
    """The parent run of a sweep and its results so far."""

    plan: Plan
    experiment: str
    flow_run_id: str
    summary: SweepSummary

    @staticmethod
    def start(plan: Plan, flow_run_id: str) -> SweepRecord:
        """Find or create the parent run of this sweep.

        Raises:
            AdaSDEError: MLflow cannot be reached, or its database cannot be used.
        """
        params = plan.trials[0].params
        with _client() as client:
            experiment = experiment_id(client, f"adasde-{params.model_name}", project=plan.project)
            run_id = _parent(client, experiment, plan)
            client.set_tag(run_id, "prefect_flow_run_id", flow_run_id)
        metric, count = params.promotion.metric, len(plan.trials)
        summary = SweepSummary(plan.id, plan.title, params.model_name, metric, run_id, count)
        return SweepRecord(plan, experiment, flow_run_id, summary)

    def known(self, trial: Trial) -> bool:
        """Whether a trial is complete, with all outputs and their runs; then its scores are added."""
        outputs = self._outputs(trial)
        with _client() as client:
            found = {one.nfe: find_run(client, self.experiment, one, self._of(trial)) for one in outputs}
        if not outputs or not all(found.values()):
            return False
        self.summary.scores += [_score(trial, one, str(found[one.nfe])) for one in outputs]
        return True

    def add(self, trial: Trial) -> None:
        """Log a finished trial.

        Raises:
            AdaSDEError: MLflow cannot be used, or an output is missing or damaged.
        """
        made = Provenance(self.plan.workspace(trial.folder).folder, original=self.plan.project)
        scores = []
        with _client() as client:
            for outputs in self._outputs(trial):
                run_id = find_run(client, self.experiment, outputs, self._of(trial))
                run_id = run_id or self._log(client, trial, outputs, made)
                scores.append(_score(trial, outputs, run_id))
        self.summary.scores += scores

    def failed(self, trial: Trial, error: Exception) -> None:
        """Record the failure of a trial."""
        self.summary.failures[trial.name] = str(error)

    def progress(self, trial: Trial) -> str:
        """One line with the result of a trial and the number of ended trials."""
        metric, summary = self.summary.metric, self.summary
        scores = [score for score in summary.scores if score.trial == trial.name]
        texts = [f"{metric} {score.text(metric)} at {score.nfe} NFE" for score in scores]
        ended = len({score.trial for score in summary.scores}) + len(summary.failures)
        return f"{trial.name}: {', '.join(texts) or 'failed'} ({ended} of {summary.trials} trials)"

    def interrupted(self) -> None:
        """Mark the parent run as killed, if MLflow can still be reached."""
        try:
            with _client() as client:
                client.set_terminated(self.summary.run_id, "KILLED")
        except AdaSDEError:
            return

    def finish(self, *, challenger: bool) -> SweepSummary:
        """Register the best trial of every budget, and describe the sweep in the parent run.

        Raises:
            AdaSDEError: MLflow cannot be used.
        """
        summary = self.summary
        with _client() as client:
            for nfe, best in summary.winners().items():
                summary.versions[nfe] = self._register(client, best, challenger=challenger)
                client.set_tag(summary.run_id, f"best/nfe{nfe}", best.trial)
                value = best.metrics[summary.metric]
                client.log_metric(summary.run_id, f"best_{summary.metric}_nfe{nfe}", value)
            self._describe(client)
            client.set_terminated(summary.run_id, "FAILED" if summary.failures else "FINISHED")
        return summary

    def _of(self, trial: Trial) -> dict[str, str]:
        return {SWEEP: self.plan.id, TRIAL: trial.folder}

    def _outputs(self, trial: Trial) -> list[Outputs]:
        """Outputs of the best student by validation at every budget; empty while some are missing."""
        folder = self.plan.workspace(trial.folder).folder
        hashes, found = graph.output_hashes(folder), []
        for nfe in trial.params.nfe if hashes else ():
            every = [Outputs(folder, trial.params, nfe, hashes, name) for name in trial.params.students]
            if not every[0].measured:
                return []
            best = chosen(every[0].metrics["students"])
            found += [one for one in every if one.label == best]
        return found

    def _log(self, client: MlflowClient, trial: Trial, outputs: Outputs, made: Provenance) -> str:
        tags = self._of(trial) | {
            PARENT: self.summary.run_id,
            "settings": trial.name,
            "prefect_flow_run_id": self.flow_run_id,
        }
        about = trial.varied(outputs.nfe)
        return log_run(client, self.experiment, outputs, made, about=about, tags=tags)

    def _register(self, client: MlflowClient, best: Score, *, challenger: bool) -> str:
        (trial,) = (trial for trial in self.plan.trials if trial.name == best.trial)
        (outputs,) = (one for one in self._outputs(trial) if one.nfe == best.nfe)
        register = ensure_challenger if challenger else ensure_version
        tags = outputs.scores() | {SWEEP: self.plan.id, "settings": trial.name}
        name = registered_name(self.summary.model, best.nfe)
        return register(client, name, best.run_id, source=f"runs:/{best.run_id}/{BUNDLE}", tags=tags)

    def _describe(self, client: MlflowClient) -> None:
        summary = self.summary
        picture = f"\n\n{image_link(summary.run_id, PICTURE)}" if summary.scores else ""
        client.set_tag(summary.run_id, NOTE, summary.markdown()[: LONGEST_NOTE - len(picture)] + picture)
        with tempfile.TemporaryDirectory() as folder:
            if summary.scores:
                save_picture(summary, Path(folder, PICTURE))
            Path(folder, "trials.json").write_text(json.dumps(summary.to_json(), indent=1), encoding="utf-8")
            client.log_artifacts(summary.run_id, folder)


@contextmanager
def _client() -> Iterator[MlflowClient]:
    with open_client(os.environ["MLFLOW_TRACKING_URI"]) as client:
        yield client


def _parent(client: MlflowClient, experiment: str, plan: Plan) -> str:
    """The run of the sweep itself, marked as running."""
    from mlflow.entities import Param

    query = f"tags.{SWEEP} = '{plan.id}' and tags.kind = 'sweep'"
    for run in client.search_runs([experiment], query):
        client.update_run(run.info.run_id, status="RUNNING")
        return str(run.info.run_id)
    model = plan.trials[0].params.model_name
    tags = {SWEEP: plan.id, "kind": "sweep", "model": model} | Provenance(plan.project).tags
    run = client.create_run(experiment, run_name=f"sweep {plan.title}", tags=tags)
    tried = {key: ", ".join(shown(value) for value in values) for key, values in plan.settings.items()}
    client.log_batch(run.info.run_id, params=[Param(key, text) for key, text in tried.items()])
    return str(run.info.run_id)


def _score(trial: Trial, outputs: Outputs, run_id: str) -> Score:
    metrics = numbers(outputs.student)
    return Score(trial.name, trial.settings, outputs.nfe, run_id, metrics, outputs.metrics["protocol_hash"])
