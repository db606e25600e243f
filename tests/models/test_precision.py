"""Number formats, layouts and compilation of a network; the memory that it takes."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from golden_edm_nets import CASES, FULL, inputs, named_weights
from tiny import tiny_values
from torch import Tensor, nn

from adasde.config.params import check_params
from adasde.errors import DataError, ParamsError
from adasde.models.core.checkpoint import Card, Component, cards, find
from adasde.models.core.precision import Runtime
from adasde.models.families.edm.family import BUILDERS, describe
from adasde.models.loading import load_model
from adasde.models.memory import estimate_memory, peak_bytes
from adasde.stages.common import trained_model
from adasde.stages.distill import distill
from adasde.stages.teacher import teacher
from adasde.utils.safetensors_io import load_tensors

SIGMA = torch.tensor(1.0)


def network_of(case: str) -> nn.Module:
    family, shape, about = describe(*CASES[case])
    network = BUILDERS[family](shape, about).eval().requires_grad_(False)
    network.load_state_dict(named_weights(network.state_dict()))
    return network


def output(case: str, runtime: Runtime) -> Tensor:
    classes = CASES[case][1].get("label_dim", 0)
    x, labels = inputs((2, 3, 16, 16), 1.0, classes)
    return runtime.prepare(network_of(case), "cpu")(x, SIGMA, labels if classes else None)


@pytest.mark.parametrize("case", ["vp", "ve", "adm"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 3e-2), ("float16", 4e-3)])
def test_short_numbers_are_close_and_results_keep_their_dtype(
    case: str, dtype: str, tolerance: float
) -> None:
    full, short = output(case, Runtime()), output(case, Runtime(dtype=dtype))
    assert short.dtype == torch.float32
    difference = (short - full).abs().max() / full.abs().max()
    assert 1e-5 < difference < tolerance


def test_short_numbers_halve_the_weights() -> None:
    network = network_of("adm")
    before = sum(weight.nbytes for weight in network.parameters())
    after = sum(weight.nbytes for weight in Runtime("bfloat16").prepare(network, "cpu").parameters())
    assert 0.5 <= after / before < 0.55


@pytest.mark.parametrize("case", ["vp", "ve", "adm"])
def test_the_layout_changes_nothing_but_rounding(case: str) -> None:
    last, first = output(case, Runtime()), output(case, Runtime(channels_last=False))
    torch.testing.assert_close(last, first, rtol=0, atol=1e-5)
    assert last.shape == first.shape


def test_the_layout_of_the_weights() -> None:
    for wanted in (True, False):
        network = Runtime(channels_last=wanted).prepare(network_of("vp"), "cpu")
        weight = network.get_parameter("model.enc.16x16_block0.conv1.weight")
        assert weight.is_contiguous(memory_format=torch.channels_last) == wanted


@pytest.mark.long
@pytest.mark.parametrize("case", ["vp", "ve", "adm"])
def test_networks_compile_as_one_graph(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend that generates no code: a C++ compiler takes minutes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager", fullgraph=True))
    plain, compiled = output(case, Runtime()), output(case, Runtime(compiled=True))
    torch.testing.assert_close(compiled, plain, rtol=0, atol=1e-5)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.long
def test_compilation_to_machine_code() -> None:
    x = torch.linspace(-1, 1, 8).reshape(2, 1, 2, 2)
    result = Runtime(compiled=True).prepare(Chain(), "cpu")(x, SIGMA)
    torch.testing.assert_close(result, Chain()(x, SIGMA))


def test_an_unknown_number_format_is_refused() -> None:
    with pytest.raises(ParamsError, match="cannot run in 'int4'; choose one of float32, bfloat16, float16"):
        Runtime(dtype="int4")


def test_the_packaged_models_run_in_short_numbers() -> None:
    for name in cards():
        model, short = load_model(name), load_model(name, runtime=Runtime("bfloat16"))
        x = torch.randn(4, *model.shape, generator=torch.Generator().manual_seed(0))
        assert (model.denoise(x, SIGMA) - short.denoise(x, SIGMA)).abs().max() < 0.1
        if model.classes:
            one, other = (each.bind([0, 1, 2, 3], guidance=2.0)(x, SIGMA) for each in (model, short))
            assert (one - other).abs().max() < 0.2


@pytest.mark.parametrize("spec", ["diffusers:somewhere", "module:function"])
def test_code_of_others_is_not_told_how_to_run(spec: str) -> None:
    with pytest.raises(ParamsError, match=f"cannot be chosen for '{spec}'.*Leave runtime out"):
        load_model(spec, runtime=Runtime("bfloat16"))


class Latent(nn.Conv2d):
    """A network that also decodes."""

    def decode(self, latents: Tensor) -> Tensor:
        return self(latents)


def test_decoding_runs_in_short_numbers_too() -> None:
    latents = torch.randn(2, 3, 4, 4)
    network = Latent(3, 3, 1).requires_grad_(False)
    expected = network.decode(latents)
    short = Runtime("bfloat16").prepare(network, "cpu")
    result = short.decode(latents)  # type: ignore[operator]
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, expected, rtol=0.05, atol=0.05)
    assert Runtime("bfloat16").prepare(nn.Conv2d(3, 3, 1), "cpu").decode is None


@pytest.mark.parametrize("name", sorted(cards()))
def test_the_memory_of_the_weights_is_that_of_the_file(name: str) -> None:
    card = cards()[name]
    memory = estimate_memory(card, card.model, batch=4)
    assert 0 <= card.model.bytes - memory.weights < 20_000  # the names of the tensors
    twice = estimate_memory(card, card.model, batch=8).activations
    assert twice == pytest.approx(2 * memory.activations, rel=0.1)


class Chain(nn.Module):
    """Ten times another tensor of the size of ``x``, the one before let go."""

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        for _ in range(10):
            x = x.sin()
        return x


def test_activations_are_what_lives_at_once() -> None:
    images, sigma = torch.empty(5, 3, 16, 16, device="meta"), torch.ones((), device="meta")
    assert peak_bytes(Chain(), [images, sigma]) == 2 * images.nbytes
    assert peak_bytes(Chain(), [images.requires_grad_(), sigma]) == 10 * images.nbytes


def test_the_memory_of_a_published_network() -> None:
    family, shape, about = describe(*FULL["imagenet64-cond-adm"])
    part = Component("model.safetensors", "", 0, family, about)
    card = Card("imagenet64", "", "", shape, 0.002, 80.0, part, part)
    memory = estimate_memory(card, card.model, batch=1)
    assert memory.parameters == 295_899_315 and memory.weights == 4 * memory.parameters
    assert 50e6 < memory.activations < 500e6
    assert estimate_memory(card, card.model, batch=1, gradient=True).activations > 3 * memory.activations


def test_the_stages_run_the_network_as_params_say(tmp_path: Path) -> None:
    """Trajectories in bfloat16 are near those in float32, and are not taken for them."""
    model = find("digits")
    made = {}
    for dtype in ("float32", "bfloat16"):
        params = check_params(tiny_values() | {"network": {"dtype": dtype}})
        teacher(params, 3, checkpoint=model, out=tmp_path / dtype)
        made[dtype] = load_tensors(tmp_path / dtype / "shard-00000.safetensors")["states"][-1]
    difference = (made["bfloat16"] - made["float32"]).square().mean()
    assert 1e-8 < difference < 1e-2
    params = check_params(tiny_values() | {"network": {"dtype": "bfloat16"}})
    with pytest.raises(DataError, match="was made from other parameters"):
        distill(params, 3, checkpoint=model, teacher=tmp_path / "float32", out=tmp_path / "out")


def test_a_network_that_is_not_ours_keeps_its_own_format(tmp_path: Path) -> None:
    params = check_params(tiny_values() | {"network": {"compiled": True}})
    with pytest.raises(ParamsError, match="cannot be chosen for 'tiny_networks:own'"):
        trained_model(params, "tiny_networks:own")
