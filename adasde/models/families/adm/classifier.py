"""ADM's classifier of noisy images (Dhariwal and Nichol, 2105.05233), and guidance by its gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from adasde.models.core.conditioning import labels_of
from adasde.models.core.libraries import diffusers
from adasde.models.core.parameterization import Process
from adasde.types import Denoiser


class Pool(nn.Module):
    """Attention of the mean point to all points: [B, C, h, w] -> [B, classes]."""

    def __init__(self, channels: int, points: int, *, classes: int, head: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.zeros(channels, points + 1))
        self.qkv_proj = nn.Conv1d(channels, 3 * channels, 1)
        self.c_proj = nn.Conv1d(channels, classes, 1)
        self.heads = channels // head

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits."""
        points = hidden.flatten(2)
        points = torch.cat([points.mean(2, keepdim=True), points], 2) + self.positional_embedding
        query, key, value = (
            part.unflatten(1, (self.heads, -1)).transpose(2, 3) for part in self.qkv_proj(points).chunk(3, 1)
        )
        mean = nn.functional.scaled_dot_product_attention(query[:, :, :1], key, value)
        return self.c_proj(mean.transpose(2, 3).flatten(1, 2))[:, :, 0]


class NoisyClassifier(nn.Module):
    """Noisy images z [B, C, H, W] at training times [B] -> logits [B, classes]."""

    def __init__(self, config: Mapping[str, Any], *, classes: int, head: int) -> None:
        """``config``: the settings of the ``UNet2DModel`` whose encoder this is."""
        super().__init__()
        unet = diffusers().UNet2DModel(**config)
        self.conv_in = unet.conv_in
        self.time_proj = unet.time_proj
        self.time_embedding = unet.time_embedding
        self.down_blocks = unet.down_blocks
        self.mid_block = unet.mid_block
        channels = config["block_out_channels"][-1]
        self.conv_norm_out = nn.GroupNorm(32, channels)
        side = int(config["sample_size"]) >> (len(config["block_out_channels"]) - 1)
        self.pool = Pool(channels, side**2, classes=classes, head=head)

    def forward(self, z: Tensor, time: Tensor) -> Tensor:
        """Logits."""
        embedding = self.time_embedding(self.time_proj(time.expand(len(z))))
        hidden = self.conv_in(z)
        for block in self.down_blocks:
            hidden, _ = block(hidden_states=hidden, temb=embedding)
        hidden = self.mid_block(hidden, embedding)
        return self.pool(nn.functional.silu(self.conv_norm_out(hidden)))


class Guided:
    """D + g sigma^2 grad log p(class | x): the noise estimate minus g sqrt(1 - signal) grad log p, in x.

    It counts as one evaluation, as in the literature, which counts the denoising network's: the classifier's
    forward and backward passes come on top. ``scale`` g = 0 leaves the classifier out.
    """

    cost = 1

    def __init__(
        self,
        network: Callable[..., Tensor],
        classifier: nn.Module,
        process: Process,
        *,
        labels: Tensor,
        scale: float,
    ) -> None:
        self.network = network
        self.classifier = classifier
        self.process = process
        self.labels = labels
        self.scale = scale

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        labels = self.labels.to(x.device)
        clean = self.network(x, sigma, labels)
        if self.scale == 0:
            return clean
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (x.ndim - 1))
        return clean + self.scale * level**2 * self._gradient(x, level, labels)

    def _gradient(self, x: Tensor, level: Tensor, labels: Tensor) -> Tensor:
        """Of log p(labels | x) with respect to x; differentiable where x or the level is."""
        further = torch.is_grad_enabled() and (x.requires_grad or level.requires_grad)
        # no other kernel of attention can be differentiated twice
        kernel = sdpa_kernel(SDPBackend.MATH) if further else nullcontext()
        with torch.enable_grad(), kernel:
            state = x if x.requires_grad else x.detach().requires_grad_()
            shown = (state * self.process.shrink(level)).float()
            logits = self.classifier(shown, self.process.time(level).flatten().float())
            log_p = logits.log_softmax(1).gather(1, labels[:, None]).sum()
            (gradient,) = torch.autograd.grad(log_p, state, create_graph=further)
        return gradient


def guided_by(
    network: Callable[..., Tensor], classifier: nn.Module, process: Any, *, classes: int
) -> Callable[[Sequence[int], float], Denoiser]:
    """``condition(seeds, guidance)`` of a model with a classifier: ``guidance`` scales its gradient."""

    def condition(seeds: Sequence[int], guidance: float) -> Denoiser:
        labels = labels_of(seeds, classes)
        return Guided(network, classifier, process, labels=labels, scale=guidance)

    return condition
