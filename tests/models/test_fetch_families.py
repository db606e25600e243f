"""The cards of OpenAI's, latent diffusion's and Stable Diffusion's files, from a file to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import golden_ldm
import golden_openai
import numpy as np
import pickle_code
import pytest
import safetensors.torch
import torch
from golden_edm_nets import named_weights
from golden_openai import read_shapes
from model_cards import saved
from small_ldm import WORDS, single_file, text_weights
from small_openai import off
from tiny_judges import write_tokenizer
from torch import Tensor

from adasde.errors import CheckpointError
from adasde.models.core.parameterization import Process
from adasde.models.core.precision import Runtime
from adasde.models.hub import cards, fetch
from adasde.models.hub.cards import ModelCard, card_of
from adasde.models.loading import load_model

HEAD = golden_openai.BASE["num_head_channels"]
"""Channels of an attention head of the small networks, which no weight tells."""


def weights(outputs: Path, case: str) -> dict[str, Tensor]:
    with np.load(outputs) as stored:
        shapes = read_shapes(stored[f"{case}/small"])
    return named_weights({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})


def consistency(folder: Path) -> list[Path]:
    (folder / "edm.pt").write_bytes(saved(weights(golden_openai.OUTPUTS, "cm")))
    return [folder / "edm.pt"]


def latent(folder: Path) -> list[Path]:
    """Training checkpoints within archives, as published."""
    unet = {
        f"model.diffusion_model.{name}": one for name, one in weights(golden_openai.OUTPUTS, "ldm").items()
    }
    parts = {"unet.zip": unet, "vq.zip": weights(golden_ldm.OUTPUTS, "vq")}
    for name, tensors in parts.items():
        packed = pickle_code.zipped({"model.ckpt": saved({"state_dict": tensors, "epoch": 3})})
        (folder / name).write_bytes(packed)
    return [folder / name for name in parts]


def stable(folder: Path) -> list[Path]:
    config = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
    text = text_weights(config | {"max_position_embeddings": 8, "vocab_size": len(WORDS)}, device="cpu")
    parts = (weights(golden_ldm.OUTPUTS, case) for case in ("sd", "kl"))
    tensors = {name: one.clone().contiguous() for name, one in single_file(*parts, text).items()}
    safetensors.torch.save_file(tensors, folder / "sd.safetensors")
    write_tokenizer(folder / "tokenizer.json")
    return [folder / "sd.safetensors", folder / "tokenizer.json"]


def with_classifier(folder: Path) -> list[Path]:
    """ADM and the classifier that guides it."""
    for case in ("adm", "classifier"):
        (folder / f"{case}.pt").write_bytes(saved(weights(golden_openai.OUTPUTS, case)))
    return [folder / "adm.pt", folder / "classifier.pt"]


def small_card(name: str, files: list[Path], **changes: Any) -> ModelCard:
    """The card ``name`` with small files of this machine, without the extractor that judges its images."""
    whole = card_of(name)
    here = {"mirrors": (), "sha256": None, "bytes": None, "about": {"head": HEAD}}
    local = [
        file.model_copy(update={"url": path.as_uri(), **here})
        for file, path in zip(whole.files, files, strict=True)
    ]
    return whole.model_copy(update={"files": local, "features": None, "prompts": None} | changes)


@pytest.mark.parametrize(
    ("name", "write", "shape", "side"),
    [
        ("lsun_bedroom", consistency, (3, 16, 16), 16),
        ("lsun_bedroom_ldm", latent, (3, 8, 8), 16),
        ("ms_coco", stable, (4, 8, 8), 16),
    ],
)
def test_a_fetched_card_draws_images(
    name: str, write: Any, shape: tuple[int, ...], side: int, tmp_path: Path
) -> None:
    card = small_card(name, write(tmp_path), shape=list(shape))
    fetch.fetch(card, tmp_path / "made/checkpoint", project=tmp_path)
    model = load_model(tmp_path / "made/checkpoint")
    assert (model.name, model.shape, model.classes) == (name, shape, 0)
    x = torch.randn(2, *shape) * 3
    clean = model.denoise(x, torch.tensor(3.0))
    images = model.images(clean)
    assert images.shape == (2, 3, side, side) and images.isfinite().all()
    if name == "lsun_bedroom":
        with np.load(golden_openai.OUTPUTS) as stored:
            for sigma in golden_openai.SIGMAS:
                denoised = model.denoise(golden_openai.noisy(sigma), torch.tensor(sigma))
                assert off(denoised, stored[f"cm/D/{sigma:g}"]) < 1e-4
        return
    case, channels = ("vq", 3) if name == "lsun_bedroom_ldm" else ("kl", 4)
    scale = 1.0 if case == "vq" else 0.18215
    with np.load(golden_ldm.OUTPUTS) as stored:
        assert off(model.images(scale * golden_ldm.latents(channels)), stored[case]) < 1e-4


def test_a_fetched_classifier_guides(tmp_path: Path) -> None:
    card = small_card("imagenet256", with_classifier(tmp_path), shape=[3, 16, 16])
    fetch.fetch(card, tmp_path / "made/checkpoint", project=tmp_path)
    model = load_model(tmp_path / "made/checkpoint")
    assert (model.name, model.shape, model.classes) == ("imagenet256", (3, 16, 16), golden_openai.CLASSES)
    sigma = float(Process.of({}).levels[250])
    x = golden_openai.noisy(1.0) * (1 + sigma**2) ** 0.5
    with np.load(golden_openai.OUTPUTS) as stored:
        noise = stored["adm/250"][:, :3]
        added = sigma / (1 + sigma**2) ** 0.5 * stored["classifier/gradient/250"]
    for scale in (0.0, 1.0, 2.0):
        ours = model.bind(golden_openai.LABELS, scale)(x, torch.tensor(sigma))
        assert off(ours, x.numpy() - sigma * (noise - scale * added)) < 1e-4, scale


def test_prompts_of_a_card_come_with_it_and_are_trusted_on_first_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "captions.csv").write_text("image_id,id,text\n1,2,a cat\n")
    card = small_card("ms_coco", stable(tmp_path), shape=[4, 8, 8])
    card = card.model_copy(update={"prompts": (tmp_path / "captions.csv").as_uri()})
    monkeypatch.setattr(cards, "card_of", lambda name: card)
    fetch.fetch("ms_coco", tmp_path / "a/checkpoint", project=tmp_path)
    model = load_model(tmp_path / "a/checkpoint")
    assert model.prompts == ["a cat"]
    x, sigma = torch.randn(1, 4, 8, 8), torch.tensor(2.0)
    told, nothing = model.bind([0])(x, sigma), model.denoise(x, sigma)
    assert (told - nothing).abs().max() > 1e-3
    short = load_model(tmp_path / "a/checkpoint", runtime=Runtime(dtype="bfloat16")).bind([0])(x, sigma)
    assert (short - told).abs().max() < 0.1 * told.abs().max()
    (tmp_path / "a/checkpoint/tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json .* are not those of the card"):
        load_model(tmp_path / "a/checkpoint")
    (tmp_path / "captions.csv").write_text("image_id,id,text\n1,2,a dog\n")
    with pytest.raises(
        CheckpointError, match=r"ms_coco/captions\.csv is not the file that this project has tr"
    ):
        fetch.fetch("ms_coco", tmp_path / "b/checkpoint", project=tmp_path)
    own = tmp_path / "mine.txt"
    own.write_text("a cow")
    fetch.fetch("ms_coco", tmp_path / "b/checkpoint", prompts=str(own), project=tmp_path)
    assert load_model(tmp_path / "b/checkpoint").prompts == ["a cow"]
