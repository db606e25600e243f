"""Preconditioning: a raw network becomes ``D(x, sigma)`` (Karras et al., arXiv 2206.00364, Table 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Scalings(NamedTuple):
    """The four functions of sigma in ``D = skip x + out F(x / divisor, noise)``."""

    skip: Tensor | float
    out: Tensor
    divisor: Tensor | float
    noise: Tensor


class Preconditioner(nn.Module):
    """``D(x, sigma)`` around a float32 network ``F``, with the ``scalings`` of a child class.

    The scalings are computed in the dtype of ``x``; the network runs in float32 and the result has the dtype
    of ``x``. Of the network's output the channels of ``x`` are used: some predict a variance besides.
    """

    def __init__(self, network: nn.Module, *, name: str = "network") -> None:
        """``name``: of the network, in front of the names of its weights."""
        super().__init__()
        self.add_module(name, network)
        self.inner = name

    def scalings(self, sigma: Tensor) -> Scalings:
        """The scalings at ``sigma`` [B or 1, 1, ...], in the same shape."""
        raise NotImplementedError

    def forward(self, x: Tensor, sigma: Tensor, *labels: Tensor | None) -> Tensor:
        """Denoise ``x`` [B, *shape] at ``sigma`` (a scalar, or [B]: one noise level a sample).

        ``labels`` [B] go to a class-conditional network (or all its conditions, each [B, ...]); None,
        or nothing, means no class.
        """
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (x.ndim - 1))
        skip, out, divisor, noise = self.scalings(sigma)
        network = self.get_submodule(self.inner)
        inputs = (x / divisor).float(), noise.flatten().float()
        output = network(*inputs, *(one for one in labels if one is not None))
        return skip * x + out * output[:, : x.shape[1]].to(x.dtype)


class Preconditioned(Preconditioner):
    """``D(x, sigma) = c_skip x + c_out F(c_in x, c_noise)`` of EDM.

    With s = ``sigma_data``: c_skip = s^2 / (sigma^2 + s^2), c_out = sigma s / sqrt(sigma^2 + s^2),
    c_in = 1 / sqrt(sigma^2 + s^2), c_noise = ln(sigma) / 4.
    """

    sigma_data: Tensor  # standard deviation of the data, kept with the weights

    def __init__(
        self, network: nn.Module, sigma_data: float = 1.0, *, name: str = "network", persistent: bool = True
    ) -> None:
        """``persistent``: ``sigma_data`` is kept with the weights."""
        super().__init__(network, name=name)
        self.register_buffer("sigma_data", torch.tensor(sigma_data), persistent=persistent)

    def scalings(self, sigma: Tensor) -> Scalings:
        variance = sigma**2 + self.sigma_data**2
        deviation = variance.sqrt()
        return Scalings(
            self.sigma_data**2 / variance, sigma * self.sigma_data / deviation, deviation, sigma.log() / 4
        )


def training_loss(
    denoise: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    noise: Tensor,
    sigma: Tensor,
    sigma_data: float,
) -> Tensor:
    """EDM's loss: (sigma^2 + s^2) / (sigma s)^2 times the squared error, averaged over pixels and samples.

    ``images`` and ``noise`` are [B, *shape] (noise of unit variance), ``sigma`` is [B].
    """
    scale = sigma.reshape(-1, *[1] * (images.ndim - 1))
    weight = (scale**2 + sigma_data**2) / (scale * sigma_data) ** 2
    error = denoise(images + scale * noise, sigma) - images
    return (weight * error**2).mean()
