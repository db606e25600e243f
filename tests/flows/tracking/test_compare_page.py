"""MLflow's own pages in a real browser: runs can be told apart, and compared by their metrics and params."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from projects import ROOT
from tiny import tiny_values, write_params

from flows.servers.up import ServiceGroup, start_mlflow
from flows.system import environment
from flows.tracking.client import experiment_id, open_client
from flows.tracking.payload import Outputs
from flows.tracking.provenance.provenance import Provenance
from flows.tracking.runs import SWEEP, TRIAL, about_run, log_run

CHROMIUM = shutil.which("chromium")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=20000",
    "--window-size=1600,1200",
)
STAGES = (
    "fetch --out data/checkpoint",
    "reference --out data/reference --metrics data/metrics/floor.json",
    "plan --out data/plan",
    "teacher --nfe 3 --student custom --out data/teacher/nfe3/custom",
    "distill --nfe 3 --student custom --teacher data/teacher/nfe3/custom --out data/distill/nfe3/custom",
    "sample --nfe 3 --student custom --coefficients data/distill/nfe3/custom/coefficients.json"
    " --out data/samples/nfe3/custom --timing data/samples/nfe3.custom.timing.json",
    "sample --baselines --nfe 3 --out data/samples/nfe3/baselines"
    " --timing data/samples/nfe3.baselines.timing.json",
    "evaluate --nfe 3 --samples data/samples/nfe3 --out data/metrics/nfe3.json",
    "report --data data --out report",
)

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here"),
]


@dataclass(frozen=True)
class Pages:
    """MLflow's server on three runs: two alone, one of a sweep."""

    url: str
    experiment: str
    runs: dict[str, str]

    def text(self, route: str, folder: Path) -> str:
        """What a browser has made of a page."""
        words = [f"--user-data-dir={folder / 'profile'}", "--dump-dom", f"{self.url}/#/{route}"]
        done = subprocess.run(
            [str(CHROMIUM), *QUIET, *words], capture_output=True, text=True, timeout=300, check=True
        )
        return done.stdout


def finished(folder: Path, rate: float) -> Outputs:
    """The outputs of toy stages."""
    from adasde.config.params import check_params

    folder.mkdir()
    values = tiny_values() | {"distill": {"trajectories": 64, "batch": 16, "lr": rate}}
    write_params(folder, check_params(values).model_dump())
    for words in STAGES:
        command = [sys.executable, str(ROOT / "tests/support/toy.py"), *words.split()]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (folder / "dvc.lock").write_text(f"# {rate}")
    path = folder / "data/distill/nfe3/custom/coefficients.json"
    return Outputs(folder, check_params(values), 3, {"distill@custom-3": {"x": path.read_text()}})


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    project = tmp_path_factory.mktemp("compare")
    uri = f"sqlite:///{project}/mlflow.db"
    before = dict(os.environ)
    os.environ.update(environment.settings(project, {**os.environ, "MLFLOW_TRACKING_URI": uri}))
    try:
        with ServiceGroup() as services:
            runs = {}
            with open_client(uri) as client:
                experiment = experiment_id(client, "adasde-digits", project=project)
                for rate in (0.05, 0.125, 0.25):
                    outputs, tags = finished(project / str(rate), rate), {}
                    about = about_run(client, experiment, outputs)
                    if rate == 0.25:
                        about, tags = "lr=0.25 nfe=3", {SWEEP: "0123", TRIAL: "lr=0.25_nfe=3"}
                    made = Provenance(project)
                    runs[about] = log_run(client, experiment, outputs, made, about=about, tags=tags)
            url = start_mlflow(project, uri, None, services)
            services.wait()
            yield Pages(url, experiment, runs)
    finally:
        os.environ.clear()
        os.environ.update(before)


def test_names_tell_runs_apart(pages: Pages) -> None:
    assert list(pages.runs) == ["digits nfe3 adasde", "digits nfe3 adasde lr=0.125", "lr=0.25 nfe=3"]


def test_the_compare_page_shows_names_metrics_and_params(pages: Pages, tmp_path: Path) -> None:
    runs, experiments = (quote(json.dumps(ids)) for ids in (list(pages.runs.values()), [pages.experiment]))
    text = pages.text(f"compare-runs?runs={runs}&experiments={experiments}", tmp_path)
    for about in pages.runs:
        assert f"{about} FID" in text
    for word in ("distill.lr", "0.125", "nfe", ">fid<", "precision", "Parallel Coordinates Plot"):
        assert word in text, word


def test_the_list_of_runs_and_a_run_can_be_read(pages: Pages, tmp_path: Path) -> None:
    listed = pages.text(f"experiments/{pages.experiment}/runs", tmp_path)
    for about in pages.runs:
        assert f"{about} FID" in listed
    shown = pages.text(f"experiments/{pages.experiment}/runs/{pages.runs['lr=0.25 nfe=3']}", tmp_path)
    assert "FID on digits, lower is better" in shown
    assert "DPM-Solver++(2M) + AFS" in shown
    assert "get-artifact?path=report%2Fsamples-small.png" in shown
