"""How much memory a network takes, found without its weights: on PyTorch's meta device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from adasde.checkpoints import Card, Part
from adasde.models import FAMILIES


@dataclass(frozen=True)
class Memory:
    """An estimate for one call of a network.

    Attributes:
        parameters: how many numbers the network has learned.
        weights: their bytes, float32.
        activations: bytes of all that its layers put out for the batch: more than is alive at one time.
    """

    parameters: int
    weights: int
    activations: int


def estimate_memory(card: Card, part: Part, *, batch: int) -> Memory:
    """What the network of ``part`` takes for ``batch`` samples in float32, none of it allocated.

    Raises:
        KeyError: nothing here builds this family.
    """
    with torch.device("meta"):
        network = FAMILIES[part.family](card, part.about).eval().requires_grad_(False)
        arguments: list[Tensor] = [torch.empty(batch, *card.shape), torch.tensor(1.0)]
        if card.classes and part is card.model:
            arguments.append(torch.zeros(batch, dtype=torch.long))
    put_out = 0

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal put_out
        put_out += output.nbytes if isinstance(output, Tensor) else 0

    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(*arguments)
    sizes = [tensor.numel() for tensor in network.state_dict().values()]
    return Memory(sum(sizes), 4 * sum(sizes), put_out)
