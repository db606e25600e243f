"""Memory of a network, measured without its weights on PyTorch's meta device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adasde.models.core.checkpoint import Card, Component
from adasde.models.core.registry import network_of


@dataclass(frozen=True)
class Memory:
    """An estimate for one call of a network.

    Attributes:
        parameters: number of learned numbers.
        weights: their bytes, float32.
        activations: bytes that live at once, beside the weights and the images, while a batch is denoised.
    """

    parameters: int
    weights: int
    activations: int


def estimate_memory(card: Card, component: Component, *, batch: int, gradient: bool = False) -> Memory:
    """Memory of the network of ``component`` for ``batch`` samples in float32; none of it is allocated.

    ``gradient``: with what is kept to differentiate with respect to the images, as distillation does.

    Raises:
        CheckpointError: the family is unknown.
    """
    with torch.device("meta"):
        network = network_of(card, component).eval().requires_grad_(False)
        arguments: list[Tensor] = [torch.empty(batch, *card.shape), torch.tensor(1.0)]
        if card.classes and component is card.model:
            arguments.append(torch.zeros(batch, dtype=torch.long))
    sizes = [tensor.numel() for tensor in network.state_dict().values()]
    arguments[0].requires_grad_(gradient)
    return Memory(sum(sizes), 4 * sum(sizes), peak_bytes(network, arguments))


def weights_of(card: Card, component: Component) -> int:
    """Bytes of the weights of ``component``, float32."""
    with torch.device("meta"):
        network = network_of(card, component)
    return 4 * sum(tensor.numel() for tensor in network.state_dict().values())


def peak_bytes(network: nn.Module, arguments: Sequence[Tensor]) -> int:
    """The most bytes that live at once of what a call makes, all on the meta device.

    Work space inside single operations is not counted: a convolution may need as much as its output again.
    """
    peak = _Peak([*network.parameters(), *network.buffers(), *arguments])
    with torch.set_grad_enabled(any(tensor.requires_grad for tensor in arguments)), peak:
        network(*arguments)
    return peak.highest


class _Peak(TorchDispatchMode):
    """Counts the bytes of what is made while it is on, as long as it lives; ``known`` was there before."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage()._cdata for tensor in known}
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.highest = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.alive = {key: kept for key, kept in self.alive.items() if not kept[0].expired()}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.known:
                    self.alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.highest = max(self.highest, sum(size for _, size in self.alive.values()))
        return result
