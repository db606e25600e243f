"""DINOv2 and CLIP with random weights in the published formats, and their cards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from golden_judges import SMALL, weights
from safetensors.torch import save_file

from adasde.models.core.libraries import transformers
from adasde.models.hub import cards

CLIP, DINO = "clip-vit-large-patch14", "dinov2-vitl14"
WORDS = ("a</w>", "cat</w>", "a", "c", "t</w>", "ca", "<|startoftext|>", "<|endoftext|>")


def write_tokenizer(path: Path) -> None:
    """A ``tokenizer.json`` of a few words at ``path``."""
    room = path.parent / f".{path.stem}"
    room.mkdir()
    (room / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(WORDS)}))
    (room / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    made = transformers().CLIPTokenizer.from_pretrained(room, unk_token=WORDS[-1], pad_token=WORDS[-1])
    made.save_pretrained(room)
    (room / "tokenizer.json").rename(path)


def clip():
    """CLIP of a few thousand weights, with transformers' own class."""
    library, sizes = transformers(), {"hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 1}
    text = {"vocab_size": len(WORDS), "max_position_embeddings": 8, "bos_token_id": 6, "eos_token_id": 7}
    vision = {"image_size": 224, "patch_size": 56}
    torch.manual_seed(4)
    config = library.CLIPConfig(text_config=sizes | text, vision_config=sizes | vision, projection_dim=16)
    model = library.CLIPModel(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.mul_(8)  # else all images look alike
    return model


def write_judges(folder: Path) -> dict[str, cards.ExtractorCard]:
    """The files of both in ``folder``; name -> card."""
    folder.mkdir()
    save_file(dict(clip().state_dict()), folder / "clip.safetensors")
    write_tokenizer(folder / "tokenizer.json")
    torch.save(weights(SMALL), folder / "dinov2.pth")
    files = {
        CLIP: {"clip": folder / "clip.safetensors", "tokenizer": folder / "tokenizer.json"},
        DINO: {"dinov2": folder / "dinov2.pth"},
    }
    made = {}
    for name, parts in files.items():
        values = cards.extractor_of(name).model_dump(mode="json")
        for file in values["files"]:
            file |= {"url": parts[file["role"]].as_uri(), "sha256": None, "bytes": None}
        made[name] = cards.ExtractorCard.model_validate(values)
    return made


def use_judges(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let their names mean the small ones, written into ``folder``."""
    known = cards._extractors() | write_judges(folder)
    monkeypatch.setattr(cards, "_extractors", lambda: known)
