"""Execution of a network: number format, memory layout, compilation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adasde.errors import ParamsError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Runtime:
    """Number format, layout and compilation of a network; images stay float32 outside of it.

    ``dtype``: ``bfloat16`` and ``float16`` hold the large weights and do the products in half the memory,
    with sums and norms where PyTorch's autocast has them. ``channels_last``: the layout in which
    convolutions are fastest on most machines; the numbers are the same up to rounding. ``compiled``: by
    ``torch.compile``, at the first call, which takes a while and needs a C++ compiler.
    """

    dtype: str = "float32"
    channels_last: bool = True
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ParamsError(f"a network cannot run in {self.dtype!r}; choose one of {', '.join(DTYPES)}.")

    def prepare(self, network: nn.Module, device: str | torch.device) -> nn.Module:
        """``network`` (changed in place) on ``device``, ready to be called as before."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        dtype = DTYPES[self.dtype]
        if dtype != torch.float32:
            for module in network.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    module.to(dtype)
        network = network.to(device).to(memory_format=layout)  # type: ignore[call-overload]
        if dtype != torch.float32:
            network = Autocast(network, torch.device(device).type, dtype)
        if self.compiled:
            network = torch.compile(network)  # type: ignore[assignment]
        return network


class Autocast(nn.Module):
    """``D(x, sigma, labels)`` with its products in a shorter number format; results have the dtype of x."""

    def __init__(self, network: nn.Module, device: str, dtype: torch.dtype) -> None:
        """``device``: its type, for instance cuda."""
        super().__init__()
        self.network = network
        self.device = device
        self.dtype = dtype
        self.decode = self._decode if hasattr(network, "decode") else None

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """As the network."""
        with torch.autocast(self.device, self.dtype):
            return self.network(x, sigma, labels)

    def _decode(self, latents: Tensor) -> Tensor:
        with torch.autocast(self.device, self.dtype):
            return self.network.decode(latents).to(latents.dtype)  # type: ignore[operator]
