"""EDM's networks: upstream's golden outputs, the names of the published weights, cards, what is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from golden_edm_nets import CASES, FULL, KEYS, OUTPUTS, SIGMAS, inputs, keys_of, named, named_weights
from torch import Tensor, nn

from adasde.errors import CheckpointError
from adasde.models.core.checkpoint import Description, add_component
from adasde.models.families.edm.family import DHARIWAL, SONG, describe, dhariwal_unet, song_unet
from adasde.models.families.edm.preconditioners import EDMPrecond, IDDPMPrecond, VEPrecond, VPPrecond
from adasde.models.loading import load_model

BUILDERS = {SONG: song_unet, DHARIWAL: dhariwal_unet}
TOLERANCE = 1e-5  # of the largest value; the issue asks for 1e-4


def build(class_name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Our network for upstream's arguments; what is stored of them goes through JSON, as in a card."""
    family, shape, about = describe(class_name, arguments)
    return BUILDERS[family](shape, json.loads(json.dumps(about))).eval()


def with_named_weights(case: str) -> nn.Module:
    network = build(*CASES[case])
    network.load_state_dict(named_weights(network.state_dict()))
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(OUTPUTS) as stored:
        return dict(stored)


def off(ours: Tensor, upstream: np.ndarray) -> float:
    """The largest difference over the largest value."""
    expected = torch.from_numpy(upstream)
    assert ours.shape == expected.shape and ours.dtype == torch.float32
    return ((ours - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_upstreams(case: str, golden: dict[str, np.ndarray]) -> None:
    network, arguments = with_named_weights(case), CASES[case][1]
    classes = arguments.get("label_dim", 0)
    for sigma in SIGMAS:
        x, labels = inputs((2, 3, 16, 16), sigma, classes)
        result = network(x, torch.tensor(sigma), labels if classes else None)
        assert off(result, golden[f"{case}/{sigma:g}"]) < TOLERANCE, sigma
        each = network(x, torch.tensor([sigma, sigma]), labels if classes else None)
        assert off(each, golden[f"{case}/{sigma:g}"]) < TOLERANCE, sigma
    if classes:
        for null in (None, torch.tensor([classes, classes])):
            assert off(network(x, torch.tensor(sigma), null), golden[f"{case}/null"]) < TOLERANCE


@pytest.mark.parametrize("case", [case for case, (name, _) in CASES.items() if name == "EDMPrecond"])
def test_what_training_told_of_augmentations(case: str, golden: dict[str, np.ndarray]) -> None:
    network, arguments = with_named_weights(case).get_submodule("model"), CASES[case][1]
    if "augment_dim" not in arguments:
        assert f"{case}/augmented" not in golden
        return
    x, labels = inputs((2, 3, 16, 16), 1, arguments.get("label_dim", 0))
    told = named("augment", (2, 9))
    result = network(x, torch.tensor([0.1, 0.2]), labels if "label_dim" in arguments else None, told)
    assert off(result, golden[f"{case}/augmented"]) < TOLERANCE


@pytest.mark.parametrize("name", FULL)
def test_the_full_size_has_the_published_names_and_shapes(name: str) -> None:
    with torch.device("meta"):
        state = build(*FULL[name]).state_dict()
    assert keys_of(state) == json.loads(KEYS.read_text())["published"][name]


def test_the_discrete_levels_are_upstreams(golden: dict[str, np.ndarray]) -> None:
    levels, expected = IDDPMPrecond(nn.Identity()).u, torch.from_numpy(golden["iddpm-preconditioner/u"])
    assert levels.shape == (1001,) and levels[-1] == 0
    torch.testing.assert_close(levels, expected, rtol=1e-3, atol=0)  # upstream's are float32


class Zero(nn.Module):
    """A network that keeps what it was given."""

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        self.x, self.c_noise = x, c_noise
        return torch.ones_like(x)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (VPPrecond, lambda sigma: 999 * ((0.01 + 39.8 * (1 + sigma**2).log()).sqrt() - 0.1) / 19.9),
        (VEPrecond, lambda sigma: (sigma / 2).log()),
        (EDMPrecond, lambda sigma: sigma.log() / 4),
    ],
)
def test_preconditioners_keep_the_dtype_and_tell_the_level(kind: Any, told: Any) -> None:
    network = Zero()
    sigma = torch.tensor([0.5, 8.0], dtype=torch.float64)
    x = torch.ones(2, 3, 4, 4, dtype=torch.float64)
    result = kind(network)(x, sigma)
    assert result.dtype == torch.float64 and network.x.dtype == torch.float32
    torch.testing.assert_close(network.c_noise, told(sigma).float())


def test_iddpm_tells_the_index_of_the_nearest_level_counted_from_the_lowest() -> None:
    network = Zero()
    denoise = IDDPMPrecond(network)
    levels = denoise.u
    sigma = torch.stack([levels[999] * 0.9, levels[500] * 1.0001, levels[0] * 2])
    denoise(torch.zeros(3, 1, 2, 2), sigma)
    assert network.c_noise.tolist() == [0, 499, 999]


def checkpoint(folder: Path, case: str) -> Path:
    """A checkpoint folder with the named weights of a case."""
    family, shape, about = describe(*CASES[case])
    network = with_named_weights(case)
    folder.mkdir()
    safetensors.torch.save_file(network.state_dict(), folder / "model.safetensors")
    head = {
        "name": case,
        "data": "none",
        "license": "none",
        "shape": shape,
        "sigma_min": 0.002,
        "sigma_max": 80.0,
    }
    add_component(folder, "model", family, about, description=Description(**head))
    (folder / "features.safetensors").write_bytes(b"")
    add_component(folder, "features", "digit-classifier", {})
    return folder


@pytest.mark.parametrize("case", ["ve", "adm"])
def test_a_checkpoint_folder_gives_a_model(case: str, tmp_path: Path, golden: dict[str, np.ndarray]) -> None:
    model = load_model(checkpoint(tmp_path / case, case))
    assert model.shape == (3, 16, 16) and model.classes == CASES[case][1].get("label_dim", 0)
    sigma = torch.tensor(1.0)
    x, labels = inputs((2, 3, 16, 16), 1.0, model.classes)
    if not model.classes:
        assert off(model.denoise(x, sigma), golden[f"{case}/1"]) < TOLERANCE
        return
    expected = torch.from_numpy(golden[f"{case}/1"])
    torch.testing.assert_close(model.bind(labels.tolist())(x, sigma), expected, rtol=0, atol=1e-5)
    null = model.denoise(x, sigma)
    guided = model.bind(labels.tolist(), guidance=3.0)(x, sigma)
    torch.testing.assert_close(guided, null + 3 * (expected - null), rtol=0, atol=1e-4)
    assert (guided - expected).abs().max() > 0.01


def test_weights_that_do_not_fit_the_card_are_refused(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "vp", "vp")
    card = json.loads((folder / "card.json").read_text())
    for change, words in (
        ({"num_blocks": 3}, "Missing key"),
        ({"dropuot": 0.1}, "unknown settings dropuot of the network"),
        ({"encoder_type": "skip"}, "encoder_type is 'skip', which no published checkpoint has"),
    ):
        changed = copy.deepcopy(card)
        changed["model"]["about"]["network"] |= change
        (folder / "card.json").write_text(json.dumps(changed))
        with pytest.raises(CheckpointError, match=f"do not fit the family 'edm-song-unet'.*{words}"):
            load_model(folder)
        with pytest.raises(CheckpointError) as raised:
            load_model(folder)
        assert len(str(raised.value)) < 600


def test_other_classes_and_arguments_are_refused() -> None:
    name, arguments = CASES["vp"]
    with pytest.raises(
        CheckpointError, match="holds a StackedRandomGenerator, which is no denoiser of EDM's"
    ):
        describe("StackedRandomGenerator", arguments)
    with pytest.raises(CheckpointError, match="the file's network is a NewUNet, which is none of EDM's"):
        describe(name, arguments | {"model_type": "NewUNet"})
    with pytest.raises(CheckpointError, match=r"EDMPrecond cannot be built.*unknown settings wings"):
        describe(name, arguments | {"wings": 2})
    with pytest.raises(CheckpointError, match="cannot be built from what it says: 'img_resolution'"):
        describe(name, {key: value for key, value in arguments.items() if key != "img_resolution"})


@pytest.mark.parametrize("case", ["vp", "ve", "adm"])
def test_a_network_is_differentiable_in_x_and_sigma(case: str) -> None:
    network = with_named_weights(case)
    x = inputs((2, 3, 16, 16), 1.0, 0)[0].requires_grad_()
    sigma = torch.tensor(1.0, requires_grad=True)
    network(x, sigma).square().sum().backward()
    for gradient in (x.grad, sigma.grad):
        assert gradient is not None and gradient.isfinite().all() and gradient.abs().max() > 0


def test_inputs_are_left_as_they_are() -> None:
    network = with_named_weights("ve")
    x = inputs((2, 3, 16, 16), 1.0, 0)[0]
    before = x.clone()
    network(x, torch.tensor(1.0))
    assert torch.equal(x, before)
