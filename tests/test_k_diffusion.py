"""``sample_adasde`` has k-diffusion's conventions and gives ``adasde.sample``'s images; the ComfyUI node."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from closed_form import small_mixture
from tables import FORMS, random_table
from torch import Tensor

import adasde
from adasde.coefficients import neutral
from adasde.errors import SolverError
from adasde.integrations.k_diffusion import sample_adasde
from adasde.vision import usable_torchvision

ROOT = Path(__file__).parent.parent
SIZE = 6


def model(x: Tensor, sigma: Tensor, *, shift: float = 0.0) -> Tensor:
    """A mixture as a model of k-diffusion: one noise level for each sample."""
    assert sigma.shape == (len(x),)
    return small_mixture()(x, sigma[0]) + shift


def start(table: adasde.Coefficients, dtype: torch.dtype = torch.float64) -> Tensor:
    return adasde.latents(range(3), (SIZE,), dtype=dtype)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("afs", [False, True])
def test_images_are_those_of_sample(form: str, afs: bool) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        table, latents = random_table(form, afs=afs), adasde.latents(range(3), (SIZE,), dtype=dtype)
        noises = {step: torch.randn(3, SIZE, dtype=dtype) for step in range(table.steps)}
        nodes = table.sigmas.tolist()

        def by_level(sigma: Tensor, sigma_next: Tensor, nodes=nodes, noises=noises) -> Tensor:
            step = nodes.index(float(sigma))
            assert float(sigma_next) == nodes[step + 1]
            return noises[step]

        ours = sample_adasde(
            model,
            latents * table.sigmas[0],
            table.sigmas,
            disable=True,
            coefficients=table,
            noise_sampler=by_level,
        )
        expected = adasde.sample(
            small_mixture(), latents, table, lambda step, like, noises=noises: noises[step]
        )
        assert float((ours - expected).abs().max() / expected.abs().max()) < tolerance


def test_the_callback_sees_every_step() -> None:
    table, news = random_table(), []
    x = start(table) * table.sigmas[0]
    ours = sample_adasde(model, x, table.sigmas, None, news.append, True, coefficients=table)
    assert [one["i"] for one in news] == [0, 1, 2]
    assert torch.equal(news[0]["x"], x)
    assert float(news[1]["sigma_hat"]) == pytest.approx(float(table.sigmas[1] * (1 + table.gamma[1])))
    assert all(one["denoised"].shape == x.shape for one in news)
    assert ours.isfinite().all()


def test_the_callback_of_a_step_without_evaluation_sees_the_analytic_estimate() -> None:
    table, news = random_table("euler"), []
    x = start(table) * table.sigmas[0]
    sample_adasde(model, x, table.sigmas, None, news.append, True, coefficients=table)
    first = table.sigmas[0]
    torch.testing.assert_close(news[0]["denoised"], x * (1 - first / (1 + first**2).sqrt()))


def test_extra_arguments_reach_the_model_and_a_file_is_read(tmp_path) -> None:
    table, path = random_table(gamma=0.0), tmp_path / "c.json"
    table.save(path)
    x = start(table) * table.sigmas[0]
    plain, shifted = (
        sample_adasde(model, x, table.sigmas, extra, disable=True, coefficients=path)
        for extra in (None, {"shift": 0.5})
    )
    assert float((shifted - plain).mean()) > 0.3


def test_the_strength_of_noise_scales_it() -> None:
    table = random_table(gamma=0.3)
    x = start(table) * table.sigmas[0]
    silent = sample_adasde(model, x, table.sigmas, disable=True, coefficients=table, s_noise=0.0)
    expected = adasde.sample(small_mixture(), start(table), table, lambda _, like: torch.zeros_like(like))
    torch.testing.assert_close(silent, expected)


def test_a_zero_at_the_end_is_left_out_and_other_nodes_are_refused() -> None:
    table = random_table(gamma=0.0)
    x = start(table) * table.sigmas[0]
    with_zero = torch.cat([table.sigmas, torch.zeros(1)])
    ours = [sample_adasde(model, x, s, disable=True, coefficients=table) for s in (table.sigmas, with_zero)]
    assert torch.equal(*ours)
    with pytest.raises(
        SolverError, match=r"distilled for the sigmas \[80\.0.*Pass sigmas=coefficients\.sigmas"
    ):
        sample_adasde(model, x, table.sigmas * 1.1, disable=True, coefficients=table)


@pytest.fixture(scope="module")
def k_diffusion() -> types.SimpleNamespace:
    """The package from PyPI, without those of its dependencies that its samplers do not use."""
    folder = ROOT / ".cache" / "k-diffusion"
    if not (folder / "k_diffusion").is_dir():
        wanted = ["k-diffusion==0.1.1.post1", "torchsde==0.2.6", "torchdiffeq==0.2.5", "trampoline==0.1.2"]
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        if subprocess.run([*command, *wanted], check=False).returncode:
            pytest.skip("k-diffusion cannot be installed")
    usable_torchvision()
    package = types.ModuleType("k_diffusion")
    package.__path__ = [str(folder / "k_diffusion")]  # its own __init__ imports a training framework
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setitem(sys.modules, "k_diffusion", package)
        yield types.SimpleNamespace(
            sampling=importlib.import_module("k_diffusion.sampling"),
            external=importlib.import_module("k_diffusion.external"),
        )


@pytest.mark.integration
def test_neutral_coefficients_are_k_diffusions_own_dpm_2(k_diffusion) -> None:
    class Predictor(torch.nn.Module):
        """eps of a data set with unit variance, seen through k-diffusion's wrapper."""

        def forward(self, z: Tensor, t: Tensor, **extra) -> Tensor:
            return z * 0.5 + 0.1 * (t / 1000).view(-1, 1)

    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    wrapped = k_diffusion.external.DiscreteEpsDDPMDenoiser(
        Predictor(), (1 - betas).cumprod(0), quantize=False
    )
    sigmas = torch.tensor([14.0, 5.0, 1.0, 0.2], dtype=torch.float64)
    x = adasde.latents(range(3), (SIZE,), dtype=torch.float64) * sigmas[0]
    theirs_seen, ours_seen = [], []
    theirs = k_diffusion.sampling.sample_dpm_2(wrapped, x, sigmas, callback=theirs_seen.append, disable=True)
    table = neutral(sigmas)
    ours = sample_adasde(wrapped, x, sigmas, callback=ours_seen.append, disable=True, coefficients=table)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    assert [set(one) for one in ours_seen] == [set(one) for one in theirs_seen]
    for mine, other in zip(ours_seen, theirs_seen, strict=True):
        torch.testing.assert_close(mine["denoised"], other["denoised"], rtol=1e-10, atol=1e-10)


class Eps:
    """ComfyUI's process of models that predict noise; its highest level has the variance of data too."""

    def __init__(self, sigma_max: float = 1000.0) -> None:
        self.sigma_max = sigma_max

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent: Tensor, most: bool) -> Tensor:
        return noise * ((1 + sigma**2).sqrt() if most else sigma) + latent

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        return latent


class Masked:
    """What a sampler function is given as the model: it takes a mask, and hands the rest on."""

    def __init__(self, inner_model: Wrapped) -> None:
        self.inner_model = inner_model

    def __call__(
        self, x: Tensor, sigma: Tensor, denoise_mask: object, model_options: dict, seed: int
    ) -> Tensor:
        assert denoise_mask is None
        return self.inner_model(x, sigma, model_options, seed)


class KSampler:
    """ComfyUI's SAMPLER of a sampler function, as far as the function can see it."""

    def __init__(self, sampler_function, extra_options=None, inpaint_options=None) -> None:
        self.sampler_function = sampler_function
        self.extra_options = extra_options or {}

    def sample(
        self,
        wrap,
        sigmas,
        extra_args,
        callback,
        noise,
        latent_image=None,
        denoise_mask=None,
        disable_pbar=False,
    ):
        process, extra_args["denoise_mask"] = wrap.inner_model.model_sampling, denoise_mask
        state = process.noise_scaling(sigmas[0], noise, latent_image, float(sigmas[0]) >= process.sigma_max)

        def watch(news: dict) -> None:
            callback(news["i"], news["denoised"], news["x"], len(sigmas) - 1)

        words = {"extra_args": extra_args, "callback": watch, "disable": disable_pbar, **self.extra_options}
        found = self.sampler_function(Masked(wrap), state, sigmas, **words)
        return process.inverse_noise_scaling(sigmas[-1], found)


@pytest.fixture
def comfy(monkeypatch) -> types.SimpleNamespace:
    """As much of ComfyUI as the node touches: KSAMPLER(sampler_function) and the class of flow processes."""

    class CONST(Eps):
        pass

    modules = {name: types.ModuleType(name) for name in ("comfy", "comfy.samplers", "comfy.model_sampling")}
    modules["comfy"].samplers = modules["comfy.samplers"]
    modules["comfy"].model_sampling = modules["comfy.model_sampling"]
    modules["comfy.samplers"].KSAMPLER = KSampler
    modules["comfy.model_sampling"].CONST = CONST
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.syspath_prepend(str(ROOT / "integrations"))
    for name in ("comfyui", "comfyui.nodes"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    node = importlib.import_module("comfyui").NODE_CLASS_MAPPINGS["LoadAdaSDE"]
    return types.SimpleNamespace(node=node, flow=CONST())


class Wrapped:
    """ComfyUI's guider around its model, called with its own arguments."""

    def __init__(self, process: Eps) -> None:
        self.inner_model = types.SimpleNamespace(model_sampling=process)

    def __call__(self, x: Tensor, sigma: Tensor, model_options: dict, seed: int) -> Tensor:
        assert (model_options, seed) == ({"a": 1}, 7)
        return model(x, sigma)


def run_comfy(sampler: KSampler, sigmas: Tensor, process: Eps, latents: Tensor, seen: list) -> Tensor:
    """As the node SamplerCustom does it, on an empty latent image."""
    extra, empty = {"model_options": {"a": 1}, "seed": 7}, torch.zeros_like(latents)

    def callback(*news: object) -> None:
        seen.append(news)

    return sampler.sample(Wrapped(process), sigmas, extra, callback, latents, empty, None, True)


def test_the_comfyui_node_gives_a_sampler_and_its_levels(comfy, tmp_path) -> None:
    table, path = random_table(gamma=0.0), tmp_path / "c.json"
    table.save(path)
    inputs = comfy.node.INPUT_TYPES()["required"]
    assert (set(inputs), comfy.node.RETURN_TYPES) == ({"coefficients", "s_noise"}, ("SAMPLER", "SIGMAS"))
    sampler, sigmas = getattr(comfy.node(), comfy.node.FUNCTION)(str(path), 1.0)
    assert (sigmas.dtype, sigmas.device.type) == (torch.float32, "cpu")
    latents, seen = start(table), []
    image = run_comfy(sampler, sigmas, Eps(), latents, seen)
    expected = adasde.sample(small_mixture(), latents, table)
    torch.testing.assert_close(image, expected, rtol=1e-6, atol=1e-6)
    assert [(i, total) for i, _, _, total in seen] == [(0, 3), (1, 3), (2, 3)]
    assert all(denoised.shape == x.shape == latents.shape for _, denoised, x, _ in seen)


def test_at_the_model_s_highest_level_comfyui_starts_with_a_little_more_noise(comfy, tmp_path) -> None:
    """sqrt(1 + sigma^2) in place of sigma, which is taken as it comes."""
    table, path = random_table(gamma=0.0, sigma_max=14.6), tmp_path / "c.json"
    table.save(path)
    sampler, sigmas = comfy.node().load(str(path), 1.0)
    latents = start(table)
    image = run_comfy(sampler, sigmas, Eps(float(sigmas[0])), latents, [])
    more = latents * (1 + 14.6**-2) ** 0.5
    torch.testing.assert_close(image, adasde.sample(small_mixture(), more, table), rtol=1e-5, atol=1e-5)


def test_the_comfyui_node_refuses_flow_matching(comfy, tmp_path) -> None:
    table, path = random_table(), tmp_path / "c.json"
    table.save(path)
    sampler, sigmas = comfy.node().load(str(path), 1.0)
    with pytest.raises(SolverError, match=r"trained by flow matching.*Use AdaSDEScheduler"):
        run_comfy(sampler, sigmas, comfy.flow, start(table), [])
