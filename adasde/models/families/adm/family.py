"""The families of OpenAI's U-Net: from a published file to a card's ``about``, and from that to a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from adasde.models.core.libraries import diffusers
from adasde.models.core.parameterization import Predicted, Process
from adasde.models.core.preconditioning import Preconditioned, Scalings
from adasde.models.core.registry import Converted, Opened
from adasde.models.families.adm.classifier import NoisyClassifier
from adasde.models.families.adm.layout import Layout, renamed

UNET, UNET_EDM, CLASSIFIER, LATENT_UNET = "openai-unet", "openai-unet-edm", "openai-classifier", "ldm-unet"
HEAD = {UNET: 64, UNET_EDM: 64, LATENT_UNET: 32}  # channels of an attention head
LINEAR = {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}
SCALED = {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195}
PROCESS = {UNET: LINEAR, LATENT_UNET: SCALED}
CONTINUOUS = {"beta_schedule": "continuous", "beta_start": 0.1, "beta_end": 20.0}
PLACE = "network.network."  # of the U-Net's weights in D's


class Consistency(Preconditioned):
    """EDM's D around a network that takes 1000 times EDM's c_noise (Song et al., 2303.01469)."""

    def scalings(self, sigma: Tensor) -> Scalings:
        skip, out, divisor, noise = super().scalings(sigma)
        return Scalings(skip, out, divisor, 1000 * noise)


def unet(about: Mapping[str, Any]) -> nn.Module:
    """``D(x, sigma, labels)`` of a U-Net, without weights."""
    from adasde.models.families.diffusers.networks import UNetAdapter

    network = UNetAdapter(diffusers().UNet2DModel(**about["network"]))
    if "process" in about:
        return Predicted(network, Process.of(about["process"]))
    return Consistency(network, float(about["sigma_data"]), persistent=False)


def classifier(about: Mapping[str, Any]) -> nn.Module:
    """``(z, time) -> logits`` of the classifier, without weights."""
    return NoisyClassifier(about["network"], classes=int(about["classes"]), head=int(about["head"]))


def convert_unet(opened: Opened) -> Converted:
    """ADM: predicts noise (and a variance) at the times of 1000 linear betas."""
    return _converted(opened.tensors, opened, UNET)


def convert_unet_edm(opened: Opened) -> Converted:
    """The EDM models of Consistency Models."""
    return _converted(opened.tensors, opened, UNET_EDM)


def convert_latent_unet(opened: Opened) -> Converted:
    """The U-Net of a latent diffusion model; its averaged weights where the file has them."""
    return _converted(averaged(opened.tensors), opened, LATENT_UNET)


def convert_classifier(opened: Opened) -> Converted:
    """ADM's classifier: half a U-Net, and attention that pools."""
    settings = settings_of(opened)
    head, blocks = int(settings.get("head", 64)), int(settings.get("blocks", 2))
    layout = Layout.of(opened.tensors, blocks=blocks)
    body = {name: value for name, value in opened.tensors.items() if not name.startswith("out.2.")}
    pool = {
        name.replace("out.2.", "pool."): value for name, value in opened.tensors.items() if name not in body
    }
    about = {
        "network": layout.config(side=_side(opened), head=head),
        "classes": len(opened.tensors["out.2.c_proj.bias"]),
        "head": head,
    }
    return Converted(CLASSIFIER, about, renamed(body, layout, head=head, legacy=True) | pool)


def averaged(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The U-Net's weights in a training checkpoint, by their names in the U-Net: averaged ones if there."""
    prefix = "model.diffusion_model."
    names = [name for name in tensors if name.startswith(prefix)]
    if not names:
        raise KeyError(f"{prefix}*")
    average = {name: "model_ema." + name.removeprefix("model.").replace(".", "") for name in names}
    there = all(one in tensors for one in average.values())
    return {name.removeprefix(prefix): tensors[average[name] if there else name] for name in names}


def settings_of(opened: Opened) -> Mapping[str, Any]:
    """Settings of a card that the weights do not show: ``head``, ``blocks``, ``continuous``, ``clamp``."""
    return (opened.about.get("card") or {}).get("about") or {}


def _converted(tensors: Mapping[str, Tensor], opened: Opened, family: str) -> Converted:
    settings = settings_of(opened)
    head = int(settings.get("head", HEAD[family]))
    layout = Layout.of(tensors)
    weights = renamed(tensors, layout, head=head, legacy=family != UNET_EDM)
    about: dict[str, Any] = {"network": layout.config(side=_side(opened), head=head)}
    process = CONTINUOUS if settings.get("continuous") else PROCESS.get(family)
    about |= {"process": process} if process else {"sigma_data": 0.5}
    about |= {"clamp": True} if settings.get("clamp") else {}
    if layout.classes:
        about |= {"classes": layout.classes, "null_class": False}
    return Converted(family, about, {PLACE + name: value for name, value in weights.items()})


def _side(opened: Opened) -> int:
    return int((opened.about.get("card") or {})["shape"][-1])
