"""DDPM++ and NCSN++ (Song et al., arXiv 2011.13456), as EDM configures and names them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from adasde.models.families.edm.layers import (
    BlockStyle,
    FourierEmbedding,
    ResampledConv,
    UNetBlock,
    WaveEmbedding,
    norm,
    silu,
)
from adasde.models.families.edm.unet import UNetPlan, decode, decoder, encoder, one_hot

HALF = math.sqrt(0.5)  # keeps the variance of a sum of two
EPS = 1e-6


@dataclass(frozen=True)
class SongSettings:
    """The architecture, in the words of the published files; the defaults are theirs.

    DDPM++ has positional embeddings, the standard encoder and the filter (1, 1); NCSN++ has Fourier
    embeddings of twice the size, the residual encoder and the filter (1, 3, 3, 1).
    """

    augment_dim: int = 0
    model_channels: int = 128
    channel_mult: tuple[int, ...] = (1, 2, 2, 2)
    channel_mult_emb: int = 4
    num_blocks: int = 4
    attn_resolutions: tuple[int, ...] = (16,)
    embedding_type: str = "positional"  # or "fourier"
    channel_mult_noise: int = 1
    encoder_type: str = "standard"  # or "residual"
    decoder_type: str = "standard"
    resample_filter: tuple[int, ...] = (1, 1)

    def __post_init__(self) -> None:
        for name, known in (
            ("embedding_type", ("positional", "fourier")),
            ("encoder_type", ("standard", "residual")),
            ("decoder_type", ("standard",)),
        ):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"{name} is {value!r}, which no published checkpoint has; known: {known}")


class SongUNet(nn.Module):
    """``F(x, c_noise, labels)`` for images ``x`` [B, channels, resolution, resolution].

    ``labels`` [B] int64 are 0 .. ``classes`` - 1; the label ``classes``, or no labels at all, is no class.
    """

    def __init__(
        self, channels: int, resolution: int, *, settings: SongSettings, classes: int = 0, outputs: int = 0
    ) -> None:
        """``outputs``: output channels; 0: as many as the image has."""
        super().__init__()
        width, wide = settings.model_channels, settings.model_channels * settings.channel_mult_emb
        noise = width * settings.channel_mult_noise
        style = BlockStyle(
            embedding=wide,
            eps=EPS,
            modulated=False,
            skip_scale=HALF,
            resample=settings.resample_filter,
            project=True,
        )
        self.classes = classes
        fourier = settings.embedding_type == "fourier"
        self.map_noise = FourierEmbedding(noise) if fourier else WaveEmbedding(noise, song=True)
        self.map_label = nn.Linear(classes, noise) if classes else None
        augment = settings.augment_dim
        self.map_augment = nn.Linear(augment, noise, bias=False) if augment else None
        self.map_layer0 = nn.Linear(noise, wide)
        self.map_layer1 = nn.Linear(wide, wide)
        widths = [width * factor for factor in settings.channel_mult]
        plan = UNetPlan(resolution, width, widths, settings.num_blocks, settings.attn_resolutions, style)
        self.enc, skips = encoder(channels, plan)
        if settings.encoder_type == "residual":
            self.enc = _with_residuals(self.enc, channels, settings.resample_filter)
        self.dec = decoder(skips, plan, attend_once=True)
        self.last = f"{plan.side(0)}_aux_norm", f"{plan.side(0)}_aux_conv"
        self.dec[self.last[0]] = norm(widths[0], EPS)
        self.dec[self.last[1]] = nn.Conv2d(widths[0], outputs or channels, 3, padding=1)

    def forward(
        self, x: Tensor, c_noise: Tensor, labels: Tensor | None = None, augment: Tensor | None = None
    ) -> Tensor:
        """The raw output [B, outputs, h, w]; ``c_noise`` is [B] or [1] (shared by the batch).

        ``augment`` [B, augment_dim] describes the augmentations of training; nothing at sampling time.
        """
        embedding = self._embed(c_noise, labels, augment)
        skips: list[Tensor] = []
        side = x
        for name, layer in self.enc.items():
            if isinstance(layer, UNetBlock):
                x = layer(x, embedding)
            elif name.endswith("_aux_residual"):
                x = side = layer(side).add_(skips.pop()).mul_(HALF)
            else:
                x = layer(x)
            skips.append(x)
        x = decode(self.dec, x, skips, embedding)
        normalise, leave = (self.dec[name] for name in self.last)
        return leave(silu(normalise(x)))

    def _embed(self, c_noise: Tensor, labels: Tensor | None, augment: Tensor | None) -> Tensor:
        """Embedding that the blocks add, [B or 1, wide]."""
        embedding = self.map_noise(c_noise)
        if self.map_label is not None:
            scaled = one_hot(labels, self.classes, like=embedding) * math.sqrt(self.classes)
            embedding = embedding + self.map_label(scaled)
        if self.map_augment is not None and augment is not None:
            embedding = embedding + self.map_augment(augment)
        embedding = functional.silu(self.map_layer0(embedding))
        return functional.silu(self.map_layer1(embedding))


def _with_residuals(layers: nn.ModuleDict, channels: int, taps: tuple[int, ...]) -> nn.ModuleDict:
    """The encoder with a filtered copy of the image joining in behind every halving."""
    result = nn.ModuleDict()
    for name, layer in layers.items():
        result[name] = layer
        if isinstance(layer, UNetBlock) and name.endswith("_down"):
            after = layer.conv1.out_channels
            result[name.replace("_down", "_aux_residual")] = ResampledConv(
                (channels, after), 3, direction="down", taps=taps, conv_first=True
            )
            channels = after
    return result
