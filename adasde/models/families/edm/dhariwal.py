"""ADM (Dhariwal and Nichol, arXiv 2105.05233), as EDM configures and names it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from adasde.models.families.edm.layers import BlockStyle, UNetBlock, WaveEmbedding, norm, silu
from adasde.models.families.edm.unet import UNetPlan, decode, decoder, encoder, one_hot

EPS = 1e-5
HEAD = 64  # channels of an attention head


@dataclass(frozen=True)
class DhariwalSettings:
    """The architecture, in the words of the published files; the defaults are theirs."""

    augment_dim: int = 0
    model_channels: int = 192
    channel_mult: tuple[int, ...] = (1, 2, 3, 4)
    channel_mult_emb: int = 4
    num_blocks: int = 3
    attn_resolutions: tuple[int, ...] = (32, 16, 8)


class DhariwalUNet(nn.Module):
    """``F(x, c_noise, labels)`` for images ``x`` [B, channels, resolution, resolution].

    ``labels`` [B] int64 are 0 .. ``classes`` - 1; the label ``classes``, or no labels at all, is no class.
    """

    def __init__(
        self,
        channels: int,
        resolution: int,
        *,
        settings: DhariwalSettings,
        classes: int = 0,
        outputs: int = 0,
    ) -> None:
        """``outputs``: output channels; 0: as many as the image has."""
        super().__init__()
        width, wide = settings.model_channels, settings.model_channels * settings.channel_mult_emb
        style = BlockStyle(embedding=wide, eps=EPS, modulated=True, head_channels=HEAD)
        widths = [width * factor for factor in settings.channel_mult]
        plan = UNetPlan(resolution, widths[0], widths, settings.num_blocks, settings.attn_resolutions, style)
        augment = settings.augment_dim
        self.classes = classes
        self.map_noise = WaveEmbedding(width, song=False)
        self.map_augment = nn.Linear(augment, width, bias=False) if augment else None
        self.map_layer0 = nn.Linear(width, wide)
        self.map_layer1 = nn.Linear(wide, wide)
        self.map_label = nn.Linear(classes, wide, bias=False) if classes else None
        self.enc, skips = encoder(channels, plan)
        self.dec = decoder(skips, plan, attend_once=False)
        self.out_norm = norm(widths[0], EPS)
        self.out_conv = nn.Conv2d(widths[0], outputs or channels, 3, padding=1)

    def forward(
        self, x: Tensor, c_noise: Tensor, labels: Tensor | None = None, augment: Tensor | None = None
    ) -> Tensor:
        """The raw output [B, outputs, h, w]; ``c_noise`` is [B] or [1] (shared by the batch).

        ``augment`` [B, augment_dim] describes the augmentations of training; nothing at sampling time.
        """
        embedding = self._embed(c_noise, labels, augment)
        skips = []
        for layer in self.enc.values():
            x = layer(x, embedding) if isinstance(layer, UNetBlock) else layer(x)
            skips.append(x)
        x = decode(self.dec, x, skips, embedding)
        return self.out_conv(silu(self.out_norm(x)))

    def _embed(self, c_noise: Tensor, labels: Tensor | None, augment: Tensor | None) -> Tensor:
        """Modulation of the blocks, [B or 1, wide]."""
        embedding = self.map_noise(c_noise)
        if self.map_augment is not None and augment is not None:
            embedding = embedding + self.map_augment(augment)
        embedding = self.map_layer1(functional.silu(self.map_layer0(embedding)))
        if self.map_label is not None and labels is not None:
            embedding = embedding + self.map_label(one_hot(labels, self.classes, like=embedding))
        return functional.silu(embedding)
