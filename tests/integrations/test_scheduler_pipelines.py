"""Whole pipelines of diffusers with our scheduler: guided, decoded, of flow matching; what is refused."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from per_sample import difference, generators
from tables import random_table
from tiny_networks import save_sd3, save_text_to_image, text_to_image
from torch import Tensor

import adasde
from adasde.errors import CoefficientsError
from adasde.integrations.diffusers import AdaSDEScheduler
from adasde.models.core.parameterization import FLOW, Process
from adasde.models.loading import load_model


def test_a_pipeline_runs_with_guidance_and_decodes(tmp_path: Path) -> None:
    pipe, table, path = own_pipeline(), random_table(model={"guidance": 7.5}), tmp_path / "c.json"
    table.save(path)
    scheduler = AdaSDEScheduler.from_coefficients(path, pipe.scheduler.config, guidance_scale=7.5)
    assert scheduler.config.beta_schedule == "scaled_linear"
    pipe.scheduler = scheduler
    calls, forward = [], pipe.unet.forward
    pipe.unet.forward = lambda *args, **kwargs: calls.append(args[0].shape) or forward(*args, **kwargs)
    try:
        ask = {"prompt": ["a cat"] * 2, "num_inference_steps": 3, "guidance_scale": 7.5, "output_type": "pt"}
        images = pipe(**ask, generator=generators([1, 2])).images
        again = pipe(**ask, generator=generators([1, 2])).images
        latents = pipe(**ask | {"output_type": "latent"}, generator=generators([1, 2])).images
    finally:
        pipe.unet.forward = forward
    assert images.shape == (2, 3, 16, 16)
    assert torch.equal(images, again)
    assert calls == [torch.Size([4, 4, 8, 8])] * 3 * table.nfe
    samples, pictures = guided_sample(pipe, table, seeds=[1, 2])
    assert difference(latents, samples) < 1e-5
    assert difference(images, pictures) < 1e-5


def own_pipeline():
    """``text_to_image`` with a scheduler that a test may replace."""
    pipe = text_to_image()
    pipe = type(pipe)(**pipe.components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def guided_sample(pipe, table: adasde.Coefficients, *, seeds: list[int]) -> tuple[Tensor, Tensor]:
    """The same latents and images through ``adasde.sample``."""
    drawn = generators(seeds)
    shape = (4, 8, 8)
    latents = torch.stack([torch.randn(shape, generator=one) for one in drawn])
    wanted, null = pipe.encode_prompt(["a cat"] * 2, "cpu", 1, True)
    process = Process.of(pipe.scheduler.config)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        level = float(sigma)
        shown, time = torch.cat([x, x]) * process.shrink(level), torch.tensor(process.time(level)).float()
        texts = torch.cat([null, wanted])
        without, with_text = pipe.unet(shown, time, encoder_hidden_states=texts).sample.chunk(2)
        return process.clean(x, level, without + 7.5 * (with_text - without))

    def noise(step: int, like: Tensor) -> Tensor:
        return torch.stack([torch.randn(shape, generator=one) for one in drawn])

    x = adasde.sample(denoise, latents, table, noise)
    return x, (pipe.vae.decode(x / pipe.vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)


def test_a_pipeline_that_is_called_with_another_guidance_is_refused(tmp_path: Path) -> None:
    pipe, path = own_pipeline(), tmp_path / "c.json"
    random_table(model={"guidance": 7.5}).save(path)
    pipe.scheduler = AdaSDEScheduler.from_coefficients(path, pipe)
    assert pipe.scheduler.config.beta_schedule == "scaled_linear"
    pipe.unet.forward, forward = None, pipe.unet.forward
    ask = {"prompt": "a cat", "num_inference_steps": 3, "guidance_scale": 3.0, "output_type": "latent"}
    try:  # the network is not asked before
        with pytest.raises(CoefficientsError, match=r"for guidance scale 7\.5, not 3\.0\. Use 7\.5"):
            pipe(**ask)
    finally:
        pipe.unet.forward = forward
    assert pipe(**ask | {"guidance_scale": 7.5}).images.isfinite().all()
    for scheduler in (copy.deepcopy(pipe.scheduler), pickle.loads(pickle.dumps(pipe.scheduler))):
        scheduler.set_timesteps(3)  # a copy belongs to no pipeline
    pipe.scheduler = AdaSDEScheduler.from_coefficients(path, pipe, force=True)
    assert pipe(**ask).images.isfinite().all()


def test_a_pipeline_of_other_weights_is_refused(tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    spec, path = save_text_to_image(tmp_path / "text"), tmp_path / "c.json"
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "text")
    random_table(model={"name": "other", "sha256": "0" * 64, "guidance": 7.5}).save(path)
    with pytest.raises(CoefficientsError, match=r"distilled for 'other' with sha256 000000000000….*force"):
        AdaSDEScheduler.from_coefficients(path, pipe)
    AdaSDEScheduler.from_coefficients(path, pipe, force=True)
    random_table(model={"name": "text", "sha256": load_model(spec).sha256, "guidance": 7.5}).save(path)
    pipe.scheduler = AdaSDEScheduler.from_coefficients(path, pipe)
    pipe.save_pretrained(tmp_path / "whole")
    again = StableDiffusionPipeline.from_pretrained(tmp_path / "whole")
    assert again.scheduler.table.to_document() == pipe.scheduler.table.to_document()
    AdaSDEScheduler.from_coefficients(path, again)  # the same weights; its code is no weight


def test_stable_diffusion_3_runs_on_latents_of_its_scale(tmp_path: Path) -> None:
    from diffusers import StableDiffusion3Pipeline

    model, seeds = load_model(save_sd3(tmp_path / "sd3"), prompts=["a cat"]), [0, 1]
    pipe = StableDiffusion3Pipeline.from_pretrained(tmp_path / "sd3", text_encoder_3=None, tokenizer_3=None)
    pipe.set_progress_bar_config(disable=True)
    about = {"guidance": 3.0, "sha256": model.sha256, "prediction_type": model.prediction_type}
    table, path = random_table(gamma=0.0, model=about), tmp_path / "c.json"
    table.save(path)
    pipe.scheduler = AdaSDEScheduler.from_coefficients(path, pipe)
    assert pipe.scheduler.config.prediction_type == FLOW
    noise = adasde.latents(seeds, (4, 8, 8))
    ask = {"prompt": ["a cat"] * 2, "num_inference_steps": 3, "guidance_scale": 3.0, "output_type": "latent"}
    ours = pipe(**ask, latents=noise * pipe.scheduler.init_noise_sigma).images
    assert difference(ours, adasde.sample(model.bind(seeds, 3.0), noise, table)) < 1e-5
