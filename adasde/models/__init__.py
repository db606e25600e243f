"""Pre-trained models, each brought to ``D(x, sigma)`` in EDM's coordinates."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from adasde.checkpoints import Card, Part, find, read_card, read_weights
from adasde.errors import CheckpointError
from adasde.models.classifier import Classifier
from adasde.models.conditional import Conditional, labels_of
from adasde.models.edm import Preconditioned
from adasde.models.edm_nets import family as edm_family
from adasde.models.mlp import ResidualMLP
from adasde.models.unet import UNet
from adasde.types import Denoiser, Model

LONGEST = 400  # characters of another library's message within ours


def _residual_mlp(card: Card, about: Mapping[str, Any]) -> nn.Module:
    return Preconditioned(ResidualMLP(card.shape, width=about["width"], depth=about["depth"]))


def _unet(card: Card, about: Mapping[str, Any]) -> nn.Module:
    sizes = {name: about[name] for name in ("classes", "width", "blocks", "embedding")}
    return Preconditioned(UNet(card.shape[0], **sizes))


def _digit_classifier(card: Card, about: Mapping[str, Any]) -> nn.Module:
    return Classifier(card.shape)


def _classifier(card: Card, about: Mapping[str, Any]) -> nn.Module:
    sizes = {name: about[name] for name in ("channels", "units", "classes")}
    return Classifier(card.shape, **sizes)


def _edm_song_unet(card: Card, about: Mapping[str, Any]) -> nn.Module:
    return edm_family.song_unet(card.shape, about)


def _edm_dhariwal_unet(card: Card, about: Mapping[str, Any]) -> nn.Module:
    return edm_family.dhariwal_unet(card.shape, about)


FAMILIES: dict[str, Callable[[Card, Mapping[str, Any]], nn.Module]] = {
    "residual-mlp": _residual_mlp,
    "unet": _unet,
    edm_family.SONG: _edm_song_unet,
    edm_family.DHARIWAL: _edm_dhariwal_unet,
    "digit-classifier": _digit_classifier,
    "classifier": _classifier,
}
"""Family name of a card -> the network without weights."""


def build(card: Card, part: Part, weights: dict[str, Tensor]) -> nn.Module:
    """The frozen network of one part of a checkpoint, in evaluation mode.

    Raises:
        CheckpointError: the family is unknown, or the weights do not fit it.
    """
    if part.family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise CheckpointError(f"{card.name!r} is of the unknown family {part.family!r}; known: {known}.")
    try:
        network = FAMILIES[part.family](card, part.about)
        network.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"the weights of {card.name!r} ({part.file}) do not fit the family {part.family!r}: "
            f"{_short(error)}"
        ) from error
    return network.eval().requires_grad_(False)


def _short(error: Exception) -> str:
    """The beginning of a message: PyTorch lists every single weight."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def load_model(spec: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> Model:
    """Load a frozen model: the name of a packaged one, or a checkpoint folder (see ``checkpoints``).

    Raises:
        CheckpointError: there is no such model, or its files are damaged or of another checkpoint.
    """
    folder = find(spec)
    card = read_card(folder)
    network = build(card, card.model, read_weights(folder, card.model)).to(device)
    classes = card.classes

    def condition(seeds: Sequence[int], guidance: float) -> Denoiser:
        return Conditional(network, labels_of(seeds, classes), null=classes, guidance=guidance)

    return Model(
        card.name,
        network,
        card.shape,
        card.sigma_min,
        card.sigma_max,
        card.model.sha256,
        classes=classes,
        condition=condition if classes else None,
    )
