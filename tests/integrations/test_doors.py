"""Bad coefficients at every door: the scheduler, k-diffusion, `adasde sample`, and the MLflow model.

What a door asks beyond the file (another guidance, step count, prediction, checkpoint) is tested beside it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

import pytest
import torch
from closed_form import small_mixture
from tables import random_table

from adasde.cli.main import main
from adasde.errors import AdaSDEError
from adasde.generation.serving import prepare
from adasde.integrations.k_diffusion import sample_adasde
from adasde.models.loading import load_model
from adasde.utils.torchvision_compat import usable_torchvision

Door = Callable[[str], None]


def scheduler(source: str) -> None:
    usable_torchvision()
    from adasde.integrations.diffusers import AdaSDEScheduler

    AdaSDEScheduler.from_coefficients(source, prediction_type="epsilon")


def k_diffusion(source: str) -> None:
    def never(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the model was asked")

    nodes = random_table().sigmas
    sample_adasde(never, torch.randn(2, 6) * nodes[0], nodes, disable=True, coefficients=source)


def command(source: str) -> None:
    """``adasde sample``; its message as an error, for it goes to stderr."""
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(io.StringIO()) as said:
        words = ["--coefficients", source, "--seeds", "0-3", "--out", "out"]
        patch.setattr("sys.argv", ["adasde", "sample", *words])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 1 and not Path("out").exists()
    assert "Traceback" not in said.getvalue()
    raise AdaSDEError(said.getvalue())


def mlflow_model(source: str) -> None:
    prepare(source)


DOORS: dict[str, Door] = {
    "scheduler": scheduler,
    "k-diffusion": k_diffusion,
    "sample": command,
    "MLflow": mlflow_model,
}


@pytest.fixture(params=list(DOORS))
def door(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    monkeypatch.chdir(tmp_path)
    for name in ("ADASDE_MODEL", "ADASDE_DEVICE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return DOORS[request.param]


def test_a_file_that_was_cut_short(door: Door) -> None:
    random_table(model={"name": "digits", "sha256": load_model("digits").sha256}).save("nfe5.json")
    Path("nfe5.json").write_bytes(Path("nfe5.json").read_bytes()[:300])
    with pytest.raises(AdaSDEError, match=r"nfe5\.json is not a complete coefficient file .*copy it again"):
        door("nfe5.json")


def test_a_file_that_is_json_of_something_else(door: Door) -> None:
    Path("package.json").write_text('{"name": "x"}')
    with pytest.raises(AdaSDEError, match=r"package\.json: this is not a coefficient file"):
        door("package.json")


def test_a_file_that_is_not_there(door: Door) -> None:
    with pytest.raises(AdaSDEError, match=r"cannot read coefficients nowhere\.json: No such file"):
        door("nowhere.json")


def test_a_registry_that_is_down(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(
        AdaSDEError,
        match=r"(?s)cannot get models:/m@champion from MLflow: .*127\.0\.0\.1.*MLFLOW_TRACKING_URI",
    ):
        door("models:/m@champion")


def test_a_registry_that_is_nowhere(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///lost/mlflow.db")
    with pytest.raises(AdaSDEError, match=r"there is no MLflow database lost/mlflow\.db\. Run this in the"):
        door("models:/m@champion")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a registry with the model "m", of which no version has an alias."""
    import mlflow

    uri = f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"
    client = mlflow.MlflowClient(uri, uri)
    client.create_registered_model("m")
    return uri


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("models:/m@champion", r"cannot get models:/m@champion from MLflow: .*champion not found.*the alias"),
        (
            "models:/nobody@champion",
            r"cannot get models:/nobody@champion from MLflow: .*nobody.*Check the name",
        ),
    ],
)
def test_an_alias_or_a_model_that_does_not_exist(
    door: Door, registry: str, spec: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry)
    with pytest.raises(AdaSDEError, match=f"(?s){message}"):
        door(spec)


def test_the_doors_open_for_good_coefficients(tmp_path: Path) -> None:
    """So that the tests above can fail."""
    path = tmp_path / "nfe5.json"
    table = random_table(model={"name": "digits", "sha256": load_model("digits").sha256})
    table.save(path)
    scheduler(str(path))
    mlflow_model(str(path))

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return small_mixture()(x, sigma[0])

    start = torch.randn(2, 6) * table.sigmas[0]
    image = sample_adasde(model, start, table.sigmas, disable=True, coefficients=str(path))
    assert image.shape == (2, 6) and bool(torch.isfinite(image).all())
