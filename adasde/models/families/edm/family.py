"""EDM's networks: from a published file to a card's ``about``, and from that to a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

from torch import nn

from adasde.errors import CheckpointError
from adasde.models.families.edm.dhariwal import DhariwalSettings, DhariwalUNet
from adasde.models.families.edm.preconditioners import PRECONDITIONERS
from adasde.models.families.edm.song import SongSettings, SongUNet

SONG, DHARIWAL = "edm-song-unet", "edm-dhariwal-unet"
NETWORKS = {"SongUNet": SONG, "DhariwalUNet": DHARIWAL}  # class name in a published file -> family
TRAINING = ("dropout", "label_dropout", "use_fp16", "sigma_min", "sigma_max", "epsilon_t")  # no part of D
PUBLISHED: dict[str, tuple[str, dict[str, str], str]] = {
    "EDMPrecond": ("edm", {"sigma_data": "sigma_data"}, "DhariwalUNet"),
    "VPPrecond": ("vp", {"beta_d": "beta_d", "beta_min": "beta_min", "M": "steps"}, "SongUNet"),
    "VEPrecond": ("ve", {}, "SongUNet"),
    "iDDPMPrecond": ("iddpm", {"C_1": "c1", "C_2": "c2", "M": "steps"}, "DhariwalUNet"),
}
"""Class name in a published file -> the preconditioner, its settings there and here, the default network."""


def song_unet(shape: tuple[int, ...], about: Mapping[str, Any]) -> nn.Module:
    """``D(x, sigma, labels)`` of DDPM++ or NCSN++ for images of ``shape`` [C, H, H], without weights."""
    settings = SongSettings(**_settings(SongSettings, about["network"]))
    return _wrap(SongUNet(shape[0], shape[1], settings=settings, **_sizes(about)), about)


def dhariwal_unet(shape: tuple[int, ...], about: Mapping[str, Any]) -> nn.Module:
    """``D(x, sigma, labels)`` of ADM for images of ``shape`` [C, H, H], without weights."""
    settings = DhariwalSettings(**_settings(DhariwalSettings, about["network"]))
    return _wrap(DhariwalUNet(shape[0], shape[1], settings=settings, **_sizes(about)), about)


BUILDERS: dict[str, Callable[[tuple[int, ...], Mapping[str, Any]], nn.Module]] = {
    SONG: song_unet,
    DHARIWAL: dhariwal_unet,
}
"""Family -> what builds it."""


def describe(
    class_name: str, arguments: Mapping[str, Any]
) -> tuple[str, tuple[int, int, int], dict[str, Any]]:
    """The family, the shape of a sample and the ``about`` of a published object.

    ``class_name`` and ``arguments`` are its class and what its constructor was called with, as plain data.

    Raises:
        CheckpointError: another class, or an argument that these families do not know.
    """
    if class_name not in PUBLISHED:
        known = ", ".join(PUBLISHED)
        raise CheckpointError(
            f"the file holds a {class_name}, which is no denoiser of EDM's; known: {known}."
        )
    name, numbers, network = PUBLISHED[class_name]
    rest = {key: value for key, value in arguments.items() if key not in TRAINING}
    network = str(rest.pop("model_type", network))
    if network not in NETWORKS:
        raise CheckpointError(
            f"the file's network is a {network}, which is none of EDM's; known: {', '.join(NETWORKS)}."
        )
    try:
        channels, side = int(rest.pop("img_channels")), int(rest.pop("img_resolution"))
        classes = int(rest.pop("label_dim", 0))
        preconditioner = {"name": name} | {numbers[key]: rest.pop(key) for key in numbers if key in rest}
        kind: type[SongSettings | DhariwalSettings] = (
            SongSettings if network == "SongUNet" else DhariwalSettings
        )
        settings = asdict(kind(**_settings(kind, rest)))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the file's {class_name} cannot be built from what it says: {error}."
        ) from error
    about: dict[str, Any] = {"classes": classes, "network": settings, "preconditioner": preconditioner}
    if class_name == "iDDPMPrecond":
        about["outputs"] = 2 * channels  # the noise, and a variance that D does not use
    return NETWORKS[network], (channels, side, side), about


def _settings(kind: type[SongSettings | DhariwalSettings], values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``kind`` from JSON: lists become tuples (TypeError: an unknown name)."""
    known = [field.name for field in fields(kind)]
    unknown = [name for name in values if name not in known]
    if unknown:
        raise TypeError(f"unknown settings {', '.join(unknown)} of the network; known: {', '.join(known)}")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _sizes(about: Mapping[str, Any]) -> dict[str, int]:
    return {name: int(about.get(name, 0)) for name in ("classes", "outputs")}


def _wrap(network: nn.Module, about: Mapping[str, Any]) -> nn.Module:
    settings = dict(about["preconditioner"])
    return PRECONDITIONERS[settings.pop("name")](network, **settings)
