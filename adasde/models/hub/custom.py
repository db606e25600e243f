"""The user's own models: a weights file with a card beside it, or a function of the user's code."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from adasde.errors import AdaSDEError, CheckpointError
from adasde.models.checkpoint import Card, Part
from adasde.types import Model
from adasde.utils.atomic_io import sha256_file

PIPELINE, FILE = "diffusers:", "file:"
FUNCTION = re.compile(r"(?!diffusers:|file:)[A-Za-z_][\w.]*:[A-Za-z_]\w*")

SUFFIXES = (".yaml", ".yml", ".json")
REQUIRED = ("family", "shape", "sigma_min", "sigma_max")
OPTIONAL = ("name", "about", "data", "license")


def is_file(spec: str) -> bool:
    """Whether a weights file with a card is meant, ``file:PATH`` (``file://`` is an address)."""
    return spec.startswith(FILE) and not spec.startswith("file://")


def is_function(spec: str) -> bool:
    """Whether ``module:function`` is meant."""
    return FUNCTION.fullmatch(spec) is not None


def is_own(spec: str) -> bool:
    """Whether ``diffusers:…``, ``file:…`` or ``module:function`` is meant: no name, folder or address."""
    return spec.startswith(PIPELINE) or is_file(spec) or is_function(spec)


def file_with_card(path: Path) -> tuple[Card, dict[str, Tensor]]:
    """The card beside a safetensors file (of the same name, ``.yaml`` or ``.json``) and its weights.

    The card has ``family``, ``shape`` (of a sample), ``sigma_min``, ``sigma_max``, and what the family needs
    under ``about``; perhaps ``name``, ``data`` and ``license``.

    Raises:
        CheckpointError: there is no card, it lacks something, or the weights cannot be read.
    """
    fields = _card_of(path)
    try:
        weights = safetensors.torch.load_file(path)
        part = Part(
            path.name, sha256_file(path), path.stat().st_size, fields["family"], fields.get("about") or {}
        )
        sigmas = float(fields["sigma_min"]), float(fields["sigma_max"])
        shape = tuple(int(size) for size in fields["shape"])
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"the weights {path} cannot be read as safetensors ({error}).") from error
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the card beside {path} cannot be used: {error}.") from error
    said = {name: str(fields.get(name, "not said")) for name in ("data", "license")}
    none = Part("", "", 0, "none", {})
    name = str(fields.get("name", path.stem))
    return Card(name, said["data"], said["license"], shape, *sigmas, model=part, features=none), weights


def _card_of(path: Path) -> dict[str, Any]:
    import yaml

    found = [card for suffix in SUFFIXES if (card := path.with_suffix(suffix)).exists()]
    if not found:
        raise CheckpointError(
            f"the weights {path} have no card: write {path.with_suffix('.yaml').name} beside them with "
            f"{', '.join(REQUIRED)} and, under about, what the family needs (see docs/models.md)."
        )
    try:
        fields = yaml.safe_load(found[0].read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CheckpointError(f"the card {found[0]} cannot be read ({error}).") from error
    if not isinstance(fields, dict):
        raise CheckpointError(f"the card {found[0]} is no mapping of names to values.")
    missing = [name for name in REQUIRED if name not in fields]
    surplus = [str(name) for name in fields if name not in (*REQUIRED, *OPTIONAL)]
    if missing or surplus:
        what = f"lacks {', '.join(missing)}" if missing else f"has unknown fields {', '.join(surplus)}"
        raise CheckpointError(
            f"the card {found[0]} {what}. It has {', '.join(REQUIRED)}, and perhaps {', '.join(OPTIONAL)}."
        )
    return fields


def model_of(spec: str) -> Model:
    """What the user's ``module:function`` returns; modules of the working folder are found too.

    Raises:
        CheckpointError: there is no such module or function, it fails, or returns no ``Model``.
    """
    name, function = spec.split(":")
    with _working_folder():
        try:
            make = getattr(import_module(name), function, None)
        except ImportError as error:
            raise CheckpointError(
                f"the model {spec!r}: the module {name!r} cannot be imported ({error}). Install it, or run "
                "in the folder where it lies."
            ) from error
        if not callable(make):
            raise CheckpointError(f"the model {spec!r}: the module {name!r} has no function {function!r}.")
        try:
            model = make()
        except AdaSDEError:
            raise
        except Exception as error:  # the user's code
            raise CheckpointError(f"the model {spec!r}: {function}() failed: {error!r}.") from error
    if not isinstance(model, Model):
        raise CheckpointError(
            f"the model {spec!r}: {function}() returned a {type(model).__name__}; it must return an "
            "adasde.types.Model (name, denoise, shape, sigma_min, sigma_max, sha256)."
        )
    return model


@contextmanager
def _working_folder() -> Iterator[None]:
    """Find modules in the working folder as well, after all others."""
    folder = str(Path.cwd())
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
