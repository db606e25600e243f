"""EDM preconditioning: any raw network becomes ``D(x, sigma)`` (Karras et al., arXiv 2206.00364, Table 1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Preconditioned(nn.Module):
    """``D(x, sigma) = c_skip x + c_out F(c_in x, c_noise)`` around a float32 network ``F``.

    With s = ``sigma_data``: c_skip = s^2 / (sigma^2 + s^2), c_out = sigma s / sqrt(sigma^2 + s^2),
    c_in = 1 / sqrt(sigma^2 + s^2), c_noise = ln(sigma) / 4. The four are computed in the dtype of ``x``;
    the network runs in float32 and the result has the dtype of ``x``.
    """

    sigma_data: Tensor  # standard deviation of the data, kept with the weights

    def __init__(self, network: nn.Module, sigma_data: float = 1.0) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("sigma_data", torch.tensor(sigma_data))

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """Denoise ``x`` [B, *shape] at ``sigma`` (a scalar, or [B]: one noise level a sample).

        ``labels`` [B] go to a class-conditional network; None asks it for no class.
        """
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (x.ndim - 1))
        variance = sigma**2 + self.sigma_data**2
        c_skip = self.sigma_data**2 / variance
        c_out = sigma * self.sigma_data / variance.sqrt()
        c_noise = sigma.flatten().log() / 4
        inputs = (x / variance.sqrt()).float(), c_noise.float()
        output = self.network(*inputs) if labels is None else self.network(*inputs, labels)
        return c_skip * x + c_out * output.to(x.dtype)


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
