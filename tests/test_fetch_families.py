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
from test_fetch_card import saved
from test_ldm_nets import WORDS, off, single_file, text_weights
from torch import Tensor

from adasde.catalogue import ModelCard, card_of
from adasde.models import fetching, load_model


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
    return [folder / "sd.safetensors"]


def small_card(name: str, files: list[Path], **changes: Any) -> ModelCard:
    """The card ``name`` with files of this machine, without the extractor that judges its images."""
    whole = card_of(name)
    local = [
        file.model_copy(update={"url": path.as_uri(), "mirrors": (), "sha256": None, "bytes": None})
        for file, path in zip(whole.files, files, strict=True)
    ]
    return whole.model_copy(update={"files": local, "features": None} | changes)


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
    fetching.fetch_card(card, tmp_path / "made/checkpoint", project=tmp_path)
    model = load_model(tmp_path / "made/checkpoint")
    assert (model.name, model.shape, model.classes) == (name, shape, 0)
    x = torch.randn(2, *shape) * 3
    clean = model.denoise(x, torch.tensor(3.0))
    images = model.images(clean)
    assert images.shape == (2, 3, side, side) and images.isfinite().all()
    if name == "lsun_bedroom":
        return
    case, channels = ("vq", 3) if name == "lsun_bedroom_ldm" else ("kl", 4)
    scale = 1.0 if case == "vq" else 0.18215
    with np.load(golden_ldm.OUTPUTS) as stored:
        assert off(model.images(scale * golden_ldm.latents(channels)), stored[case]) < 1e-4
