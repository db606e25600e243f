"""A registered version is an MLflow model: what its folder holds, what it draws, that MLflow serves it."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request as WebRequest

import numpy as np
import pandas as pd
import pytest
import yaml
from homes import metrics
from PIL import Image
from projects import ROOT
from tables import random_table
from tiny import tiny_values

from adasde.config.params import check_params
from adasde.errors import CheckpointError, CoefficientsError
from adasde.generation import Request, draw_seeds
from adasde.models.loading import load_model
from adasde.sampling.coefficients import Coefficients
from adasde.utils.atomic_io import sha256_file
from flows.servers.service import HOST, Service, answers, free_port, opener
from flows.tracking.client import open_client
from flows.tracking.payload import BUNDLE, Outputs, log_files
from flows.tracking.pyfunc import NEEDED, requirements, write_model
from flows.tracking.versions import CHAMPION, ensure_challenger, registered_name

pytestmark = pytest.mark.integration  # MLflow makes its database once

NAME = registered_name("digits", 5)
SEEDS = [0, 1, 12345]


@dataclass(frozen=True)
class Home:
    """A project with a registered champion, and the folder with its files."""

    root: Path
    uri: str
    files: Path


def digits_table(**facts: Any) -> Coefficients:
    model = load_model("digits")
    return random_table(model={"name": model.name, "sha256": model.sha256} | facts)


def make_outputs(root: Path) -> Outputs:
    """What a run leaves, as far as the files of an MLflow run are made of it."""
    distilled = root / "data/distill/nfe5/custom"
    for folder in (distilled, root / "data/metrics", root / "report"):
        folder.mkdir(parents=True)
    digits_table().save(distilled / "coefficients.json")
    (distilled / "loss.csv").write_text("iteration,node_1\n0,1.0\n")
    (root / "data/metrics/nfe5.json").write_text(
        json.dumps(metrics(0.5) | {"students": {"AdaSDE": {"name": "custom"}}})
    )
    (root / "requirements.lock").write_text((ROOT / "requirements.lock").read_text())
    return Outputs(root, check_params(tiny_values() | {"nfe": [5]}), 5, {})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    root = tmp_path_factory.mktemp("served")
    outputs, uri = make_outputs(root), f"sqlite:///{root}/mlflow.db"
    with open_client(uri) as client:
        experiment = client.create_experiment("x", artifact_location=(root / "mlruns").as_uri())
        run = client.create_run(experiment).info.run_id
        log_files(client, run, outputs)
        version = ensure_challenger(
            client, NAME, run, source=f"runs:/{run}/{BUNDLE}", tags={"sha256": outputs.scores()["sha256"]}
        )
        client.set_registered_model_alias(NAME, CHAMPION, version)
        yield Home(root, uri, root / "mlruns" / run / "artifacts" / BUNDLE)


def champion(**settings: str) -> Any:
    import mlflow

    return mlflow.pyfunc.load_model(f"models:/{NAME}@{CHAMPION}", model_config=settings or None)


def pixels(image: str) -> np.ndarray:
    picture = Image.open(io.BytesIO(base64.b64decode(image, validate=True)))
    assert picture.format == "PNG"
    return np.asarray(picture).astype(int)


def expected(seeds: list[int]) -> np.ndarray:
    return draw_seeds(Request.of(digits_table()), seeds)[:, 0].numpy().astype(int)


def test_its_folder_has_no_pickle_and_no_weights(home: Home) -> None:
    assert sorted(path.name for path in home.files.rglob("*")) == [
        "MLmodel",
        "adasde_model.py",
        "coefficients.json",
        "input_example.json",
        "metrics.json",
        "python_env.yaml",
        "requirements.txt",
        "serving_input_example.json",
    ]
    assert all(path.read_text("utf-8") for path in home.files.iterdir()), "text, all of it"
    assert sum(path.stat().st_size for path in home.files.iterdir()) < 20_000
    flavor = yaml.safe_load((home.files / "MLmodel").read_text())["flavors"]["python_function"]
    assert flavor["model_code_path"] == "adasde_model.py" and "cloudpickle_version" not in flavor
    original = home.root / "data/distill/nfe5/custom/coefficients.json"
    assert sha256_file(home.files / "coefficients.json") == sha256_file(original)
    known = json.loads(original.read_text())["model"]
    assert known["sha256"] == load_model("digits").sha256  # the weights are named, not copied


def test_its_signature_and_its_example(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    model = champion()
    columns = [(column.name, str(column.type), column.required) for column in model.metadata.signature.inputs]
    assert columns[0] == ("seed", "DataType.long", True)
    assert [(name, required) for name, _, required in columns[1:]] == [("class", False), ("prompt", False)]
    assert model.metadata.signature.outputs.input_names() == ["image", "height", "width"]
    drawn = model.predict(model.input_example)
    assert [pixels(image).tolist() for image in drawn["image"]] == expected([0, 1]).tolist()
    request = json.loads((home.files / "serving_input_example.json").read_text())
    assert request == {"dataframe_split": {"columns": ["seed"], "data": [[0], [1]]}}


def test_it_draws_what_the_coefficients_draw(home: Home) -> None:
    model = champion()
    drawn = model.predict(pd.DataFrame({"seed": SEEDS}))
    together = np.stack([pixels(image) for image in drawn["image"]])
    assert np.abs(together - expected(SEEDS)).max() <= 1
    alone = [model.predict(pd.DataFrame({"seed": [seed]}))["image"][0] for seed in SEEDS]
    assert np.abs(together - np.stack([pixels(image) for image in alone])).max() <= 1
    assert drawn["height"].tolist() == drawn["width"].tolist() == [8, 8, 8]
    assert Coefficients.load(f"models:/{NAME}@{CHAMPION}").to_document() == digits_table().to_document()


def test_what_it_refuses(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    from mlflow.exceptions import MlflowException

    model = champion()
    with pytest.raises(MlflowException, match=r"the model 'digits' takes no column 'class'"):
        model.predict(pd.DataFrame({"seed": [1], "class": [2]}))
    with pytest.raises(MlflowException, match=r"seed must be an integer from 0 .* not -1\."):
        model.predict(pd.DataFrame({"seed": [-1]}))
    with pytest.raises(MlflowException, match=r"Model is missing inputs \['seed'\].*extra inputs.*\['sed'\]"):
        model.predict(pd.DataFrame({"sed": [1]}))
    logger = logging.getLogger("mlflow")
    logger.addHandler(caplog.handler)
    try:  # what MLflow itself does with a column that the signature does not have
        model.predict(pd.DataFrame({"seed": [1], "size": [2]}))
    finally:
        logger.removeHandler(caplog.handler)
    assert "`['size']`. These inputs will be ignored" in caplog.text


def test_a_network_elsewhere(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        CheckpointError, match=r"(?s)'digits' with sha256 .*'/nowhere'.*variable ADASDE_MODEL"
    ):
        champion(model="/nowhere")
    monkeypatch.setenv("ADASDE_MODEL", "glyphs")
    with pytest.raises(CoefficientsError, match=r"glyphs: these coefficients were distilled for 'digits'"):
        champion()
    assert champion(model="digits", device="cpu").predict(pd.DataFrame({"seed": [4]})).shape == (1, 3)


def test_what_is_needed_is_pinned_as_in_the_lock(home: Home, tmp_path: Path) -> None:
    lines = (home.files / "requirements.txt").read_text().split()
    locked = (ROOT / "requirements.lock").read_text().split("\n")
    assert lines[0].startswith("adasde==") and set(lines[1:]) <= set(locked)
    assert [line.partition("==")[0] for line in lines[1:]] == list(NEEDED)
    own = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {line.partition(">")[0] for line in own} <= set(NEEDED)
    installed = requirements(tmp_path / "no.lock")
    assert [line.partition("==")[0] for line in installed[1:]] == list(NEEDED)
    assert not any("+" in line for line in installed)


def test_the_same_again_is_the_same(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        write_model(folder, run_id="r", path=BUNDLE, lock=ROOT / "requirements.lock")
        files = {path.name: path.read_text() for path in folder.iterdir()}
        about = yaml.safe_load(files.pop("MLmodel"))
        made.append(
            (files, {key: about[key] for key in about if key not in ("model_uuid", "utc_time_created")})
        )
    assert made[0] == made[1]


@pytest.mark.long
def test_mlflow_serves_it(home: Home, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://{HOST}:{port}"
    serve = ["-m", "mlflow", "models", "serve", "-m", f"models:/{NAME}@{CHAMPION}", "--env-manager", "local"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"MLFLOW_TRACKING_URI": home.uri, "PATH": path, "PYTHONPATH": str(ROOT)}
    server = Service(
        "MLflow",
        [sys.executable, *serve, "--host", HOST, "--port", str(port)],
        ready=lambda: answers(f"{url}/ping"),
        cwd=tmp_path,
        env=environment,
        log=tmp_path / "serve.log",
    )
    try:
        server.wait(300)
        answer = asked(url, {"seed": SEEDS})
        ours = np.stack([pixels(row["image"]) for row in answer["predictions"]])
        assert np.abs(ours - expected(SEEDS)).max() <= 1
        for wrong, reason in (
            ({"seed": [1], "class": [3]}, "takes no column 'class'"),
            ({}, "missing inputs"),
        ):
            with pytest.raises(HTTPError) as caught:
                asked(url, wrong)
            assert caught.value.code == 400 and reason in caught.value.read().decode()
    finally:
        server.stop()
    assert not answers(url)


def asked(url: str, inputs: dict[str, list[int]]) -> dict[str, Any]:
    """The answer to a POST, as curl sends it."""
    body = json.dumps({"inputs": inputs}).encode()
    request = WebRequest(f"{url}/invocations", body, {"Content-Type": "application/json"})
    with opener(url).open(request, timeout=60) as answer:
        return json.load(answer)
