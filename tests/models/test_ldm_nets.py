"""Latent diffusion's decoders and Stable Diffusion in one file: golden outputs, published names, prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from golden_edm_nets import named_weights
from golden_ldm import OUTPUTS, embedding, latents
from golden_openai import TIMES, read_shapes
from small_ldm import PUBLISHED_TEXT, WORDS, published, single_file, small, text_weights
from small_openai import network, off

from adasde.errors import CheckpointError, SolverError
from adasde.models.core.checkpoint import Description, add_component
from adasde.models.core.libraries import transformers
from adasde.models.core.registry import FAMILIES, Converted, Opened, converted
from adasde.models.families.ldm.autoencoder import Decoder, decoder_of
from adasde.models.loading import load_model
from adasde.sampling.wrappers import Counting
from adasde.types import Model

TOLERANCE = 1e-4  # of the largest value


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(OUTPUTS) as stored:
        return dict(stored)


def checkpoint(folder: Path, **parts: Converted) -> Path:
    """A checkpoint folder of latents [C, 8, 8]."""
    folder.mkdir()
    channels = 3 if "autoencoder" in parts else 4
    description = Description("latent", "none", "none", (channels, 8, 8), 0.03, 14.0)
    for role, made in parts.items():
        tensors = {name: value.clone() for name, value in made.tensors.items()}
        safetensors.torch.save_file(tensors, folder / f"{role}.safetensors")
        add_component(folder, role, made.family, made.about, description=description)
    return folder


def stable(folder: Path, golden: dict[str, np.ndarray], *, tokenizer: bool = True) -> Path:
    """A checkpoint folder with the small Stable Diffusion and a tokenizer of a few words."""
    made = checkpoint(folder, model=small(golden))
    if tokenizer:
        (folder / "tokenizer").mkdir()
        words = {word: index for index, word in enumerate(WORDS)}
        (folder / "tokenizer/vocab.json").write_text(json.dumps(words))
        (folder / "tokenizer/merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
        config = {"tokenizer_class": "CLIPTokenizer", "unk_token": WORDS[-1], "pad_token": WORDS[-1]}
        (folder / "tokenizer/tokenizer_config.json").write_text(json.dumps(config))
    return made


@pytest.mark.parametrize("case", ["vq", "kl"])
def test_images_are_upstreams(case: str, golden: dict[str, np.ndarray]) -> None:
    about, tensors = decoder_of(named_weights(published(f"{case}/small", golden)), scale=0.5)
    decode = Decoder(json.loads(json.dumps(about)))
    decode.load_state_dict(tensors)
    z = latents(3 if case == "vq" else 4)
    assert off(decode.eval()(z * 0.5), golden[case]) < TOLERANCE


def test_stable_diffusions_unet_is_upstreams(golden: dict[str, np.ndarray]) -> None:
    unet = network(small(golden)).denoise.network
    for time in TIMES:
        result = unet(latents(4), torch.tensor([time]), embedding())
        assert off(result, golden[f"sd/{time:g}"]) < TOLERANCE, time


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_the_full_decoder_has_the_published_names_and_shapes(
    prefix: str, golden: dict[str, np.ndarray]
) -> None:
    tensors = {prefix + name: value for name, value in published("vq/full", golden).items()}
    made = converted("ldm-vq", Opened(tensors | {"loss.discriminator.weight": torch.zeros(1)}))
    same_shapes(made)
    assert made.about["network"]["num_vq_embeddings"] == 8192
    taken = [name for name in tensors if "encoder." not in name and "quant_conv." not in name]
    assert len(made.tensors) == len(taken) + 2  # post_quant_conv


def test_the_full_stable_diffusion_has_the_published_names_and_shapes(golden: dict[str, np.ndarray]) -> None:
    parts = (published("sd/full", golden), published("kl/full", golden))
    tensors = single_file(*parts, text_weights(PUBLISHED_TEXT, device="meta"))
    made = converted("stable-diffusion", Opened(tensors, {"card": {"shape": [4, 64, 64]}}))
    same_shapes(made)
    config = made.about["text"]
    assert {name: config[name] for name in PUBLISHED_TEXT} == PUBLISHED_TEXT
    assert (config["bos_token_id"], config["eos_token_id"]) == (49406, 49407)
    assert sum(name.startswith("denoise.") for name in made.tensors) == len(parts[0]) == 686


def same_shapes(made: Converted) -> None:
    with torch.device("meta"):
        ours = FAMILIES[made.family](None, made.about).state_dict()  # type: ignore[arg-type]
    assert {name: tensor.shape for name, tensor in made.tensors.items()} == {
        name: tensor.shape for name, tensor in ours.items()
    }


def test_a_model_with_its_autoencoder_makes_images(tmp_path: Path, golden: dict[str, np.ndarray]) -> None:
    from golden_openai import OUTPUTS as UNETS

    with np.load(UNETS) as stored:
        shapes = read_shapes(stored["ldm/small"])
    weights = named_weights({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    unet = {f"model.diffusion_model.{name}": value for name, value in weights.items()}
    card = {"card": {"shape": [3, 8, 8], "about": {"head": 16}}}
    decoder = converted("ldm-vq", Opened(named_weights(published("vq/small", golden))))
    folder = checkpoint(
        tmp_path / "ldm", model=converted("ldm-unet", Opened(unet, card)), autoencoder=decoder
    )
    model = load_model(folder)
    assert off(model.images(latents(3)), golden["vq"]) < TOLERANCE
    x = torch.randn(2, 3, 8, 8).requires_grad_()
    (gradient,) = torch.autograd.grad(model.images(model.denoise(x, torch.tensor(1.0))).square().sum(), x)
    assert gradient.abs().max() > 0  # through the quantisation as well


def loaded(folder: Path, **options: Any) -> Model:
    return load_model(folder, **options)


def test_prompts_of_a_single_file(tmp_path: Path, golden: dict[str, np.ndarray]) -> None:
    folder = stable(tmp_path / "sd", golden)
    model, bare = loaded(folder, prompts=["a cat", "cat"]), network(small(golden))
    x, sigma = latents(4) * 2, torch.tensor(2.0)
    tokens = {"a cat": [6, 0, 1, *[7] * 5], "cat": [6, 1, *[7] * 6], "": [6, *[7] * 7]}
    told = {prompt: bare.embed(torch.tensor([ids])) for prompt, ids in tokens.items()}
    wanted = bare(x, sigma, torch.cat([told["a cat"], told["cat"]]))
    null = bare(x, sigma, told[""].expand(2, -1, -1))
    torch.testing.assert_close(model.bind([0, 1])(x, sigma), wanted, rtol=0, atol=1e-5)
    guided = Counting(model.bind([0, 1], 7.5))
    torch.testing.assert_close(guided(x, sigma), null + 7.5 * (wanted - null), rtol=0, atol=1e-4)
    torch.testing.assert_close(model.denoise(x, sigma), null, rtol=0, atol=1e-5)
    assert guided.nfe == 2 and (wanted - null).abs().max() > 1e-3
    assert off(model.images(0.18215 * latents(4)), golden["kl"]) < TOLERANCE


def test_prompts_lie_in_the_checkpoint_folder(tmp_path: Path, golden: dict[str, np.ndarray]) -> None:
    folder = stable(tmp_path / "sd", golden)
    with pytest.raises(SolverError, match="draws what prompts say and has none"):
        loaded(folder).bind([0])
    (folder / "prompts.txt").write_text("a cat\ncat\n")
    x, sigma = latents(4), torch.tensor(2.0)
    expected = loaded(folder, prompts=["a cat", "cat"]).bind([0, 1])(x, sigma)
    assert torch.equal(loaded(folder).bind([0, 1])(x, sigma), expected)


def test_without_a_tokenizer_it_is_said_where_to_put_one(
    tmp_path: Path, golden: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(source: Any) -> None:
        raise OSError(f"offline: no {source}")

    monkeypatch.setattr(transformers().CLIPTokenizer, "from_pretrained", offline)
    model = loaded(stable(tmp_path / "sd", golden, tokenizer=False), prompts=["a cat"])
    with pytest.raises(
        CheckpointError, match=r"need CLIP's tokenizer.*Put vocab.json and merges.txt of openai/"
    ):
        model.bind([0])


def test_other_files_are_refused(golden: dict[str, np.ndarray]) -> None:
    unet = {f"model.diffusion_model.{name}": one for name, one in published("sd/small", golden).items()}
    deep = {name.replace("blocks.0.attn1", "blocks.1.attn1"): one for name, one in unet.items()} | unet
    for tensors, words in (
        ({}, "not a checkpoint of the family 'stable-diffusion'"),
        (unet, "not a checkpoint of the family 'stable-diffusion'"),
        (deep, "this is no Stable Diffusion 1: its attention is not one block deep"),
        (unet | {"model.diffusion_model.wings.weight": torch.zeros(1)}, "not a checkpoint of the family"),
    ):
        with pytest.raises(CheckpointError, match=words):
            converted("stable-diffusion", Opened(tensors, {"card": {"shape": [4, 8, 8]}}))
    with pytest.raises(CheckpointError, match="not a checkpoint of the family 'ldm-vq'"):
        converted("ldm-vq", Opened({"encoder.weight": torch.zeros(1)}))
