"""The bundled models of digits and letters: networks, data, training, weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from adasde.models.core.checkpoint import Card
from adasde.models.core.preconditioning import Preconditioned
from adasde.models.core.registry import register
from adasde.models.families.toy.classifier import Classifier
from adasde.models.families.toy.mlp import ResidualMLP
from adasde.models.families.toy.unet import UNet


def _residual_mlp(card: Card, about: Mapping[str, Any]) -> nn.Module:
    return Preconditioned(ResidualMLP(card.shape, width=about["width"], depth=about["depth"]))


def _unet(card: Card, about: Mapping[str, Any]) -> nn.Module:
    sizes = {name: about[name] for name in ("classes", "width", "blocks", "embedding")}
    return Preconditioned(UNet(card.shape[0], **sizes))


def _digit_classifier(card: Card, about: Mapping[str, Any]) -> nn.Module:
    return Classifier(about.get("shape", card.shape))


def _classifier(card: Card, about: Mapping[str, Any]) -> nn.Module:
    sizes = {name: about[name] for name in ("channels", "units", "classes")}
    return Classifier(about.get("shape", card.shape), **sizes)


register("residual-mlp", build=_residual_mlp)
register("unet", build=_unet)
register("digit-classifier", build=_digit_classifier)
register("classifier", build=_classifier)
