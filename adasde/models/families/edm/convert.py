"""EDM's published pickles, opened as data, become checkpoints of this project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from adasde.errors import CheckpointError
from adasde.models.core.registry import Converted, Opened
from adasde.models.families.edm.family import BUILDERS, describe
from adasde.models.families.edm.layers import Resample

POSITIONS = ("img_resolution", "img_channels", "label_dim")  # of arguments without a name


def convert(opened: Opened) -> Converted:
    """The denoiser in one of NVIDIA's pickles: its family, how to build it, its weights under their names.

    Raises:
        CheckpointError: it is not one of EDM's denoisers, or its weights do not fit its description.
    """
    modules = opened.about.get("modules")
    if not modules:
        raise CheckpointError(
            "the file does not say how its network is built; EDM's are pickles ('.pkl') that do. "
            "Fetch the published file itself, not a copy of its weights."
        )
    outer = modules[""]
    arguments = {**dict(zip(POSITIONS, outer["args"], strict=False)), **outer["kwargs"]}
    family, shape, about = describe(outer["class_name"], arguments)
    with torch.device("meta"):
        network = BUILDERS[family](shape, about)
    _check(network, opened.tensors)
    return Converted(family, about, {name: opened.tensors[name] for name in network.state_dict()})


def _check(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """CheckpointError where ``tensors`` are not the weights of ``network`` (on the meta device)."""
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        raise CheckpointError(
            f"the weights in the file are not those of the network that it describes: {len(wrong)} differ, "
            f"for instance {name} is {_words(found.get(name))} in place of {_words(wanted.get(name))}."
        )
    for name, module in network.named_modules():
        if isinstance(module, Resample):
            here = torch.tensor(module.taps) / sum(module.taps)
            if not torch.allclose(tensors[f"{name}.resample_filter"][0, 0].float(), torch.outer(here, here)):
                raise CheckpointError(f"the file's {name} resamples with another filter than it describes.")


def _words(shape: Any) -> str:
    return "missing" if shape is None else f"{list(shape)}" if shape else "a number"
