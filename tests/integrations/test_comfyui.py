"""The node for ComfyUI, loaded and called as that program does it."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import pytest
import torch
from closed_form import small_mixture
from noise_levels import model, start
from tables import random_table
from torch import Tensor

import adasde
from adasde.errors import CoefficientsError, SolverError

ROOT = Path(__file__).parents[2]


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
    node = as_custom_node(monkeypatch, ROOT / "adasde/integrations/comfyui").NODE_CLASS_MAPPINGS["LoadAdaSDE"]
    return types.SimpleNamespace(node=node, flow=CONST())


def as_custom_node(monkeypatch, folder: Path) -> types.ModuleType:
    """A folder as ComfyUI loads those in custom_nodes: by its place, under a name made of its path."""
    name = str(folder).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, f"{name}.nodes", raising=False)
    spec.loader.exec_module(module)
    return module


class Wrapped:
    """ComfyUI's guider around its model, called with its own arguments."""

    def __init__(self, process: Eps) -> None:
        self.inner_model, self.cfg = types.SimpleNamespace(model_sampling=process), 1.0

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


def test_the_comfyui_node_refuses_another_guidance(comfy, tmp_path) -> None:
    table, path = random_table(model={"guidance": 7.5}), tmp_path / "c.json"
    table.save(path)
    sampler, sigmas = comfy.node().load(str(path), 1.0)
    with pytest.raises(CoefficientsError, match=r"guidance scale 7\.5, not 1\.0\. Use 7\.5"):
        run_comfy(sampler, sigmas, Eps(), start(table), [])
