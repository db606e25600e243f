"""Pipelines of diffusers as models: what their own loops compute, classes, prompts, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_networks as tiny
import torch
from torch import Tensor

import adasde
from adasde.errors import CheckpointError, SolverError
from adasde.models.core.parameterization import Predicted, Process
from adasde.models.core.prompts import Prompted, read_prompts
from adasde.models.families.diffusers.networks import FluxAdapter, TextUNetAdapter
from adasde.models.loading import load_model
from adasde.sampling.wrappers import Counting
from adasde.types import Model

PROMPTS = ["a cat", "cat"]
SAVERS: dict[str, Callable[[Path], str]] = {
    "unet": tiny.save_unconditional,
    "class": tiny.save_by_class,
    "dit": tiny.save_dit,
    "text": tiny.save_text_to_image,
    "sd3": tiny.save_sd3,
}


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {name: save(tmp_path_factory.mktemp(name)) for name, save in SAVERS.items()}


def loaded(spec: str, prompts: Any = PROMPTS) -> Model:
    return load_model(spec, prompts=prompts)


def states(model: Model, sigma: float, count: int = 2) -> Tensor:
    return torch.randn(count, *model.shape, generator=torch.Generator().manual_seed(7)) * sigma


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.detach().abs().max().item())


@pytest.mark.parametrize(
    ("name", "shape", "classes", "image"),
    [
        ("unet", (3, 8, 8), 0, 8),
        ("class", (3, 8, 8), 5, 8),
        ("dit", (4, 8, 8), 5, 16),
        ("text", (4, 8, 8), 0, 16),
        ("sd3", (4, 8, 8), 0, 16),
    ],
)
def test_a_pipeline_is_a_model(
    name: str, shape: tuple[int, ...], classes: int, image: int, specs: dict[str, str]
) -> None:
    model = loaded(specs[name])
    assert (model.shape, model.classes, model.name) == (shape, classes, specs[name].partition(":")[2])
    x, sigma = states(model, 3.0).double(), torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    result = model.bind([0, 1])(x, sigma)
    assert result.shape == x.shape and result.dtype == x.dtype
    assert model.images(result).shape == (2, 3, image, image)
    (gradient,) = torch.autograd.grad(result.square().sum(), sigma)
    assert gradient.isfinite() and gradient != 0
    each = model.bind([0, 1])(x, sigma.detach().expand(2))
    torch.testing.assert_close(each, result.detach(), rtol=1e-5, atol=1e-5)


def test_noise_levels_are_those_of_the_training(specs: dict[str, str]) -> None:
    model, flow = loaded(specs["text"]), loaded(specs["sd3"])
    assert (round(model.sigma_min, 3), round(model.sigma_max, 2)) == (0.029, 14.61)
    assert (flow.sigma_min, flow.sigma_max) == (1 / 999, 999)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_euler_steps_are_those_of_ddim(prediction: str, tmp_path: Path) -> None:
    """DDIM without noise is Euler's method on the same grid, whatever the network predicts."""
    from diffusers import DDIMPipeline

    spec = tiny.save_unconditional(tmp_path, prediction_type=prediction, set_alpha_to_one=False)
    model = load_model(spec)
    pipe = DDIMPipeline.from_pretrained(tmp_path)
    scheduler = pipe.scheduler
    scheduler.set_timesteps(4)
    process = Process.of(scheduler.config)
    times = [*scheduler.timesteps.tolist(), 0]  # the pipeline's last step ends at time 0, on the lowest level
    if times[-2] == 0:
        times = times[:-1]
    levels = torch.tensor([float(process.levels[time]) for time in times], dtype=torch.float64)
    noise = states(model, 1.0)
    z = noise * levels[0].float() * process.shrink(float(levels[0]))
    for time in scheduler.timesteps[: len(levels) - 1]:
        output = pipe.unet(z, time).sample
        z = scheduler.step(output, time, z).prev_sample
    ours = adasde.solve(model.denoise, noise, levels, "euler")
    close(ours * process.shrink(float(levels[-1])), z)


def test_guided_prompts_are_those_of_stable_diffusion(specs: dict[str, str]) -> None:
    pipe, model = tiny.text_to_image(), loaded(specs["text"])
    process, sigma = Process.of(pipe.scheduler.config), torch.tensor(2.5)
    x = states(model, 2.5)
    embedding, null = pipe.encode_prompt(PROMPTS, "cpu", 1, True)
    z, time = x * process.shrink(2.5), process.time(2.5)
    outputs = [pipe.unet(z, time, encoder_hidden_states=told).sample for told in (null, embedding)]
    guided = outputs[0] + 7.5 * (outputs[1] - outputs[0])
    close(model.bind([0, 1], 7.5)(x, sigma), process.clean(x, 2.5, guided))
    close(model.denoise(x, sigma), process.clean(x, 2.5, outputs[0]))
    latents = states(model, 1.0)
    close(model.images(latents), pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample)


def test_stable_diffusion_3_is_flow_matching(specs: dict[str, str]) -> None:
    from diffusers import StableDiffusion3Pipeline

    model = loaded(specs["sd3"])
    pipe = StableDiffusion3Pipeline.from_pretrained(
        specs["sd3"].partition(":")[2], text_encoder_3=None, tokenizer_3=None
    )
    pipe.set_progress_bar_config(disable=True)
    share = [0.9, 0.6, 0.2]  # of noise
    noise = states(model, 1.0, 1)
    sigma = [u / (1 - u) for u in share]
    z = noise * 0.9
    theirs = pipe(
        "cat", sigmas=share, latents=z, guidance_scale=1.0, output_type="latent", height=16, width=16
    ).images
    levels = torch.tensor(sigma, dtype=torch.float64)
    denoise = model.bind([1])
    ours = adasde.solve(denoise, noise, levels, "euler")
    close(denoise(ours, levels[-1].float()), theirs)  # the pipeline's last step goes to no noise at all


def test_labels_of_dit(specs: dict[str, str]) -> None:
    from diffusers import DiTPipeline

    model = loaded(specs["dit"])
    pipe = DiTPipeline.from_pretrained(specs["dit"].partition(":")[2])
    process = Process.of(pipe.scheduler.config)
    x, time = states(model, 2.0), torch.full((2,), process.time(2.0))
    outputs = [
        pipe.transformer(x * process.shrink(2.0), time, class_labels=torch.tensor(labels)).sample[:, :4]
        for labels in ([5, 5], [3, 4])
    ]
    guided = outputs[0] + 4 * (outputs[1] - outputs[0])
    close(model.bind([3, 4], 4.0)(x, torch.tensor(2.0)), process.clean(x, 2.0, guided))
    close(model.denoise(x, torch.tensor(2.0)), process.clean(x, 2.0, outputs[0]))


def test_a_unet_without_a_null_class_cannot_be_guided(specs: dict[str, str]) -> None:
    model = loaded(specs["class"])
    x = states(model, 1.0)
    with pytest.raises(SolverError, match="without a null class"):
        model.bind([0, 1], 2.0)
    with pytest.raises(SolverError, match="draws nothing without a class; bind the seeds"):
        model.denoise(x, torch.tensor(1.0))
    one, other = (model.bind(seeds)(x, torch.tensor(1.0)) for seeds in ([0, 1], [0, 2]))
    assert torch.equal(one[0], other[0]) and not torch.equal(one[1], other[1])


def flux(*, guided: bool) -> tuple[Model, FluxAdapter, list[float]]:
    """A model around the random transformer of Flux, and the guidances that it was told."""
    adapter, told = FluxAdapter(tiny.flux(guided=guided)), []

    def network(x: Tensor, sigma: Tensor, *parts: Tensor) -> Tensor:
        told.extend(parts[2].tolist() if guided else [])
        return denoise(x, sigma, *parts)

    def encode(prompt: str) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(len(prompt))
        return torch.randn(1, 3, 16, generator=generator), torch.randn(1, 16, generator=generator)

    denoise = Predicted(adapter, Process.of({"_class_name": "FlowMatchEulerDiscreteScheduler"}))
    condition = Prompted(network, encode, PROMPTS, name="flux", guided=adapter.guided)
    model = Model("flux", condition.null, (4, 8, 8), 0.001, 999.0, "0", condition=condition)
    return model, adapter, told


@pytest.mark.parametrize("guided", [False, True])
def test_flux_packs_its_latents_as_its_pipeline_does(guided: bool) -> None:
    from diffusers import FluxPipeline

    model, adapter, told = flux(guided=guided)
    x, sigma = states(model, 1.5), 1.5
    packed = FluxPipeline._pack_latents(x / 2.5, 2, 4, 8, 8)
    embedding, pooled = (torch.cat(part) for part in zip(*map(model.condition.encode, PROMPTS), strict=True))
    output = adapter.network(
        packed,
        encoder_hidden_states=embedding,
        pooled_projections=pooled,
        timestep=torch.full((2,), 0.6),
        img_ids=FluxPipeline._prepare_latent_image_ids(2, 4, 4, "cpu", torch.float32),
        txt_ids=torch.zeros(3, 3),
        guidance=torch.full((2,), 3.5) if guided else None,
    ).sample
    velocity = FluxPipeline._unpack_latents(output, 64, 64, 8)
    bound = model.bind([0, 1], 3.5 if guided else 1.0)
    close(bound(x, torch.tensor(sigma)), (x - sigma * velocity) / 2.5)
    assert told == [3.5, 3.5] * guided and Counting(bound).cost == 1


def test_guidance_counts_two_evaluations_in_one_call(specs: dict[str, str]) -> None:
    counting = Counting(loaded(specs["text"]).bind([0, 1], 7.5))
    counting(torch.zeros(2, 4, 8, 8), torch.tensor(1.0))
    assert counting.nfe == 2


def test_the_prompt_of_a_seed_is_its_remainder(specs: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "prompts").write_text("a cat\n\n  cat \n", encoding="utf-8")
    model = loaded(specs["text"], tmp_path / "prompts")
    x = states(model, 1.0, 1).expand(3, -1, -1, -1)
    together = model.bind([0, 1, 2])(x, torch.tensor(1.0))
    torch.testing.assert_close(together[0], together[2])
    assert (together[0] - together[1]).abs().max() > 1e-4
    alone = model.bind([5])(x[:1], torch.tensor(1.0))
    torch.testing.assert_close(alone[0], together[1])


def test_prompts_lie_beside_the_pipeline(specs: dict[str, str], tmp_path: Path) -> None:
    folder = shutil.copytree(specs["text"].partition(":")[2], tmp_path / "own")
    without = loaded(f"diffusers:{folder}", None)
    with pytest.raises(
        SolverError, match=r"draws what prompts say and has none. Name a file of them in params.yaml"
    ):
        without.bind([0])
    (folder / "prompts.txt").write_text("a cat\ncat\n")
    condition = loaded(f"diffusers:{folder}", None).condition
    assert isinstance(condition, Prompted) and condition.prompts == PROMPTS
    assert without.sha256 == loaded(specs["text"]).sha256  # prompts are no weights


def test_prompts_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"the prompts .*none.txt cannot be read .*one prompt a line"):
        read_prompts(tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(CheckpointError, match=r"there are no prompts in .*empty.txt"):
        read_prompts(tmp_path / "empty.txt")


def copy_of(spec: str, folder: Path) -> Path:
    return shutil.copytree(spec.partition(":")[2], folder / "copy")


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def evil(folder: Path) -> None:
    """A network whose class lies in a file beside the weights."""
    (folder / "unet" / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Evil: pass\n")
    edit(folder / "model_index.json", unet=["evil", "Evil"])


def evil_pipeline(folder: Path) -> None:
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Evil: pass\n")
    edit(folder / "model_index.json", _class_name=["evil", "Evil"])


def pickled(folder: Path) -> None:
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    torch.save(tiny.unconditional().state_dict(), weights.with_suffix(".bin"))
    weights.unlink()


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "code": (evil, r"asks for code that comes with the weights \(the classes of unet\)"),
    "pipeline code": (evil_pipeline, "asks for code that comes with the weights"),
    "pickle": (pickled, r"cannot be loaded.*Only safetensors weights are read; pipe.save_pretrained"),
    "no index": (lambda folder: (folder / "model_index.json").unlink(), "holds no pipeline of diffusers"),
    "no such pipeline": (
        lambda folder: edit(folder / "model_index.json", _class_name="NoPipeline"),
        "diffusers has no pipeline 'NoPipeline'",
    ),
    "process": (
        lambda folder: (
            edit(folder / "model_index.json", scheduler=["diffusers", "EDMEulerScheduler"]),
            (folder / "scheduler/scheduler_config.json").write_text('{"_class_name": "EDMEulerScheduler"}'),
        ),
        "scheduler EDMEulerScheduler says no beta_schedule",
    ),
    "size": (
        lambda folder: edit(folder / "unet/config.json", sample_size=None),
        "does not say its sample_size",
    ),
    "learned times": (
        lambda folder: edit(
            folder / "unet/config.json", time_embedding_type="learned", num_train_timesteps=10
        ),
        "cannot be loaded|integer times only",
    ),
}


@pytest.mark.parametrize("how", REFUSED)
def test_pipelines_that_are_refused(how: str, specs: dict[str, str], tmp_path: Path) -> None:
    folder = copy_of(specs["unet"], tmp_path)
    spoil, words = REFUSED[how]
    spoil(folder)
    with pytest.raises(CheckpointError, match=words):
        load_model(f"diffusers:{folder}")
    assert not (folder / "ran").exists()


def test_networks_that_are_told_more_are_refused() -> None:
    from diffusers import UNet2DConditionModel

    config = {name: value for name, value in tiny.text_to_image().unet.config.items() if name[0] != "_"}
    for change, words in (
        ({"in_channels": 9}, "takes 9 channels and returns 4"),
        ({"class_embed_type": "timestep"}, "more than times, classes and one prompt"),
    ):
        with pytest.raises(CheckpointError, match=words):
            TextUNetAdapter(UNet2DConditionModel(**config | change))


def test_the_hash_is_that_of_the_weights(specs: dict[str, str], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = copy_of(specs["unet"], tmp_path)
    assert load_model(f"diffusers:{folder}").sha256 == loaded(specs["unet"]).sha256
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    save_file({name: value + 1 for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    assert load_model(f"diffusers:{folder}").sha256 != loaded(specs["unet"]).sha256


def test_what_is_neither_a_folder_nor_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match=r"no pipeline in './nowhere': it is no folder"):
        load_model("diffusers:./nowhere")


def test_a_hub_id_is_fetched_without_pickles_and_code(
    specs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked = {}

    def snapshot(name: str, *, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        asked[name] = allow_patterns
        if name == "no/such":
            raise OSError("offline mode is enabled")
        return specs["unet"].partition(":")[2]

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert load_model("diffusers:owner/name").shape == (3, 8, 8)
    assert not any(pattern.endswith((".bin", ".py", ".ckpt", "*")) for pattern in asked["owner/name"])
    with pytest.raises(CheckpointError, match=r"'no/such' is no folder and cannot be fetched .* offline"):
        load_model("diffusers:no/such")
