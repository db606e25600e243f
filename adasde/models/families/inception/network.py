"""InceptionV3 as torch-fidelity runs it, differentiable: the features of FID, KID and the Inception score."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adasde.models.core.registry import Converted
from adasde.models.safe_pickle import Opened
from adasde.utils.torchvision_compat import usable_torchvision

FAMILY = "inception-v3"
SIDE = 299  # pixels that the network sees
CLASSES = 1008
PART = 32  # images at once: the first layers of each take some 20 MB


class Inception(nn.Module):
    """Images [B, 3 or 1, H, W] in [-1, 1] -> 2048 features; parameters are named as torch-fidelity's.

    Its first steps are TensorFlow's: values 0 to 255, resized bilinearly to 299 pixels the way TensorFlow 1
    did. Nothing is rounded or clipped, so that samples outside the range have gradients.
    """

    def __init__(self) -> None:
        super().__init__()
        usable_torchvision()
        from torch_fidelity import feature_extractor_inceptionv3 as blocks
        from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

        self.resize = interpolate_bilinear_2d_like_tensorflow1x
        layers: dict[str, nn.Module] = {
            "Conv2d_1a_3x3": blocks.BasicConv2d(3, 32, kernel_size=3, stride=2),
            "Conv2d_2a_3x3": blocks.BasicConv2d(32, 32, kernel_size=3),
            "Conv2d_2b_3x3": blocks.BasicConv2d(32, 64, kernel_size=3, padding=1),
            "MaxPool_1": nn.MaxPool2d(3, stride=2),
            "Conv2d_3b_1x1": blocks.BasicConv2d(64, 80, kernel_size=1),
            "Conv2d_4a_3x3": blocks.BasicConv2d(80, 192, kernel_size=3),
            "MaxPool_2": nn.MaxPool2d(3, stride=2),
            "Mixed_5b": blocks.InceptionA(192, pool_features=32),
            "Mixed_5c": blocks.InceptionA(256, pool_features=64),
            "Mixed_5d": blocks.InceptionA(288, pool_features=64),
            "Mixed_6a": blocks.InceptionB(288),
            **{
                f"Mixed_6{letter}": blocks.InceptionC(768, channels_7x7=width)
                for letter, width in zip("bcde", (128, 160, 160, 192), strict=True)
            },
            "Mixed_7a": blocks.InceptionD(768),
            "Mixed_7b": blocks.InceptionE_1(1280),
            "Mixed_7c": blocks.InceptionE_2(2048),
            "AvgPool": nn.AdaptiveAvgPool2d(1),
        }
        self.steps = list(layers)
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.fc = nn.Linear(2048, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, 1008]."""
        return self.fc(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """Features [B, 2048] float32, as they are; differentiable in ``images``."""
        if torch.is_grad_enabled() and images.requires_grad:
            return self._features(images)
        return torch.cat([self._features(part) for part in images.split(PART)])

    def _features(self, images: Tensor) -> Tensor:
        values = (images.float().expand(-1, 3, -1, -1) + 1) * 127.5
        x = (self.resize(values, size=(SIDE, SIDE), align_corners=False) - 128) / 128
        for name in self.steps:
            x = getattr(self, name)(x)
        return x.flatten(1)

    def scores(self, features: Tensor) -> Tensor:
        """Logits without their bias, for the Inception score: [n, 1008] of features [n, 2048]."""
        return features @ self.fc.weight.T.to(features)


def convert(opened: Opened) -> Converted:
    """torch-fidelity's file: its names are ours.

    Raises:
        KeyError: a tensor is missing.
        ValueError: one has another shape.
    """
    with torch.device("meta"):
        wanted = Inception().state_dict()
    counters = {name: torch.zeros((), dtype=torch.long) for name in wanted if name.endswith("_tracked")}
    tensors = {name: {**counters, **opened.tensors}[name] for name in wanted}
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise ValueError(f"{name} has the shape {list(tensor.shape)}, not {list(wanted[name].shape)}")
    return Converted(FAMILY, {}, tensors)
