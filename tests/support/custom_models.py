"""Custom models of every kind, and the extractor and images that they need."""

from __future__ import annotations

import shutil
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from tiny_networks import save_text_to_image, save_unconditional

from adasde.models.core import checkpoint
from adasde.models.core.checkpoint import Description, find, read_card, weights_folder
from adasde.models.families.toy.classifier import Classifier

CODE = """
from dataclasses import replace
from adasde.models import load_model

def digits():
    return replace(load_model("digits"), name="whatever", sha256=open("weights").read() * 64)
"""


def images(path: Path, shape: tuple[int, int, int], count: int = 60) -> str:
    """An archive of random pictures; returns its name."""
    values = np.random.default_rng(0).integers(0, 256, (count, *shape[1:], shape[0]), dtype=np.uint8)
    with zipfile.ZipFile(path, "w") as archive:
        for index, value in enumerate(values):
            Image.fromarray(value.squeeze()).save(stream := BytesIO(), "PNG")
            archive.writestr(f"{index}.png", stream.getvalue())
    return path.name


def judge(folder: Path, shape: tuple[int, int, int]) -> str:
    """A checkpoint of which the extractor alone is of use; returns its name."""
    shutil.copytree(weights_folder() / "digits", folder)
    sizes: dict[str, Any] = {"channels": [4, 4], "units": 8, "classes": 3}
    torch.manual_seed(0)
    save_file(Classifier(shape, **sizes).state_dict(), folder / "features.safetensors")
    head = {
        "name": "judge",
        "data": "none",
        "license": "ours",
        "shape": shape,
        "sigma_min": 0.1,
        "sigma_max": 9.0,
    }
    checkpoint.add_component(folder, "features", "classifier", sizes, description=Description(**head))
    return folder.name


def own_file(folder: Path) -> dict[str, Any]:
    """Weights with a card."""
    (folder / "nets").mkdir()
    shutil.copy(weights_folder() / "digits/model.safetensors", folder / "nets/mine.safetensors")
    card = read_card(find("digits"))
    fields = {"shape": [1, 8, 8], "sigma_min": 0.002, "sigma_max": 80.0}
    fields |= {"family": card.model.family, "about": dict(card.model.about)}
    (folder / "nets/mine.yaml").write_text(yaml.safe_dump(fields))
    return {"model": "file:nets/mine.safetensors", "features": "digits"}


def own_function(folder: Path) -> dict[str, Any]:
    """A function of a module in the project."""
    (folder / "our_nets.py").write_text(CODE)
    (folder / "weights").write_text("a")
    return {"model": "our_nets:digits", "features": "digits"}


def pipeline(folder: Path) -> dict[str, Any]:
    """A pipeline of diffusers."""
    save_unconditional(folder / "some pipe")
    ends = {"sigma_min": 0.05, "sigma_max": 80.0}
    extractor = judge(folder / "judge", (3, 8, 8))
    return {"model": "diffusers:some pipe", "features": extractor, "schedule": ends}


def text_to_image(folder: Path) -> dict[str, Any]:
    """One that draws what prompts say."""
    save_text_to_image(folder / "sd")
    (folder / "captions.csv").write_text('image_id,id,text\n1,2,a cat\n3,4,"a\ncat a"\n5,6,\n7,8,cat\n')
    values = {"model": "diffusers:sd", "features": judge(folder / "judge", (3, 16, 16))}
    ends = {"sigma_min": 0.05, "sigma_max": 14.0}
    return values | {"prompts": "captions.csv", "guidance": 2.0, "schedule": ends}
