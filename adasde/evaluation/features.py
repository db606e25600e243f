"""Feature extractors for FID, KID, precision and recall, and their registration with torch-fidelity."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from adasde.errors import CheckpointError
from adasde.models.core.checkpoint import Card, cards, find, read_card, read_weights
from adasde.models.loading import build
from adasde.utils.devices import default_device
from adasde.utils.pixels import to_float
from adasde.utils.torchvision_compat import usable_torchvision

LAYER = "features"


class FeatureNetwork(Protocol):
    """A network with features of images."""

    def features(self, images: Tensor) -> Tensor:
        """Normalised features [B, F] of ``images`` [B, C, H, W] in [-1, 1]."""
        ...


class Features:
    """``features(images) -> [B, F]`` float32 for images [B, C, H, W] in [-1, 1]; nothing is clamped.

    ``device`` is that of the network and of the features; images are moved there.
    """

    def __init__(
        self, network: FeatureNetwork, *, name: str, sha256: str, device: str | torch.device = "cpu"
    ) -> None:
        self.network = network
        self.name = name
        self.sha256 = sha256
        self.device = device

    def __call__(self, images: Tensor, /) -> Tensor:
        """Features of float images, differentiable with respect to the images."""
        return self.network.features(images.to(self.device))

    @property
    def scores(self) -> Callable[[Tensor], Tensor] | None:
        """Features [n, F] -> logits [n, classes] of the Inception score; None unless it is InceptionV3."""
        return getattr(self.network, "scores", None)


def load_features(spec: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> Features:
    """The feature extractor of a bundled model (by name) or of a checkpoint folder.

    Raises:
        CheckpointError: there is no such checkpoint, or its files are damaged.
    """
    folder = find(spec)
    card = read_card(folder)
    if card.features is None:
        raise CheckpointError(
            f"the checkpoint {folder} ({card.name}) has no feature extractor. Name one in params.yaml, for "
            "instance  features: inception-2015-12-05  (or digits, or a checkpoint that has one), and run "
            "'adasde fetch' again."
        )
    network = build(card, card.features, read_weights(folder, card.features)).to(device)
    return Features(cast(FeatureNetwork, network), name=card.name, sha256=card.features.sha256, device=device)


def extractor_of(checkpoint: str | os.PathLike[str]) -> Features:
    """The feature extractor of ``checkpoint``, on the ``default_device``.

    Raises:
        CheckpointError: it cannot be loaded.
    """
    return load_features(checkpoint, device=default_device())


@cache
def fidelity() -> ModuleType:
    """torch-fidelity, with the extractors of all bundled models registered by name."""
    usable_torchvision()
    import torch_fidelity

    for card in cards().values():
        torch_fidelity.register_feature_extractor(card.name, _fidelity_extractor(torch_fidelity, card))
    return torch_fidelity


def _fidelity_extractor(torch_fidelity: Any, card: Card) -> type:
    class PackagedExtractor(torch_fidelity.FeatureExtractorBase):
        """uint8 images -> (features [B, F] float64,); the weights' path is a checkpoint folder."""

        def __init__(
            self,
            name: str,
            features_list: list[str],
            feature_extractor_weights_path: str | None = None,
            **_: Any,
        ) -> None:
            super().__init__(name, features_list)
            extractor = load_features(feature_extractor_weights_path or card.name)
            self.extractor = extractor
            self.name = f"{name}-{extractor.sha256[:16]}"  # part of the keys of torch-fidelity's cache

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return (LAYER,)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return LAYER

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        @staticmethod
        def get_dummy_input_for_compile() -> Tensor:
            return torch.zeros(1, *card.shape, dtype=torch.uint8)

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            return (self.extractor(to_float(images)).double(),)

    return PackagedExtractor
