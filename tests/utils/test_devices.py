"""Where networks run. PyTorch's meta device stands for a GPU: like one, it refuses tensors of the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import adasde
from adasde.distillation.config import DistillSettings
from adasde.distillation.distill import initial_student
from adasde.distillation.losses import Batch, Losses
from adasde.errors import AdaSDEError
from adasde.evaluation.features import load_features
from adasde.models.loading import load_model
from adasde.utils.devices import default_device

META = "meta"


def test_a_process_of_torchrun_takes_the_gpu_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADASDE_DEVICE", raising=False)
    assert default_device() == ("cuda:0" if torch.cuda.is_available() else "cpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert default_device() == "cuda:3"
    monkeypatch.setenv("ADASDE_DEVICE", "cpu")
    assert default_device() == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADASDE_DEVICE", name)
    with pytest.raises(AdaSDEError, match=f"ADASDE_DEVICE={name} names no device that PyTorch can use here"):
        default_device()


@pytest.mark.parametrize("name", ["digits", "glyphs"])
def test_a_model_and_its_extractor_are_where_they_are_asked_to_be(name: str) -> None:
    model, features = load_model(name, device=META), load_features(name, device=META)
    assert model.device == META and load_model(name).device == "cpu"
    latents = adasde.latents(range(3), model.shape, device=META)
    grid = adasde.schedule("polynomial", 2)
    images = model.images(
        adasde.Teacher("ipndm").states(
            model.bind(range(3)),
            latents,
            schedule="polynomial",
            steps=2,
            sigma_min=0.002,
            sigma_max=80.0,
            rho=7.0,
        )[-1]
    )
    assert images.shape == (3, *model.shape) and images.device.type == META
    assert features(torch.zeros(2, *model.shape)).device.type == META
    assert len(grid) == 3


@pytest.mark.parametrize("solver", ["adasde", "adasde-multistep", "ipndm", "unipc"])
@pytest.mark.parametrize("changes", [{"learn_grid": True}, {"inner_weight": 0.1}])
def test_one_iteration_mixes_no_devices(solver: str, changes: dict[str, Any]) -> None:
    settings = DistillSettings(solver=solver, gamma_max=0.5, energy_weight=1.0, **changes)
    model, features = load_model("digits", device=META), load_features("digits", device=META)
    table = initial_student(adasde.schedule("time_uniform", 3), settings=settings, afs=True)
    losses = Losses(settings, features, torch.zeros(40, 32, device=META))

    def loss(device: str) -> Tensor:
        batch = Batch(range(4), torch.zeros(4, 4, *model.shape, device=device))
        current = table()
        return losses.total(losses(model.bind(range(4)), batch, current), current.sigmas)

    with pytest.raises(RuntimeError, match="device"):
        loss("cpu")
    assert loss(META).device.type == META
