"""Custom models: a weights file with a card beside it, a function, and links to models of other libraries."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from adasde.errors import AdaSDEError, CheckpointError
from adasde.models.core.checkpoint import Card, Component, Description, add_component, verified
from adasde.types import Model
from adasde.utils.atomic_io import sha256_file, write_json

PIPELINE, FILE = "diffusers:", "file:"
FUNCTION = re.compile(r"(?!diffusers:|file:)[A-Za-z_][\w.]*:[A-Za-z_]\w*")

LINKED, LINK = "linked", "link.json"
"""Family and file of a checkpoint whose weights stay where they are."""

UNKNOWN = "not said"
SUFFIXES = (".yaml", ".yml", ".json")
REQUIRED = ("family", "shape", "sigma_min", "sigma_max")
OPTIONAL = ("name", "about", "data", "license")


def is_file(spec: str) -> bool:
    """Whether ``spec`` is ``file:PATH``, a weights file with a card (``file://`` is an address)."""
    return spec.startswith(FILE) and not spec.startswith("file://")


def is_function(spec: str) -> bool:
    """Whether ``spec`` is ``module:function``."""
    return FUNCTION.fullmatch(spec) is not None


def is_custom(spec: str) -> bool:
    """Whether ``spec`` is ``diffusers:…``, ``file:…`` or ``module:function``: no name, folder or address."""
    return spec.startswith(PIPELINE) or is_file(spec) or is_function(spec)


def file_with_card(path: Path) -> tuple[Card, dict[str, Tensor]]:
    """The card beside a safetensors file (of the same name, ``.yaml`` or ``.json``) and its weights.

    The card has ``family``, ``shape`` (of a sample), ``sigma_min``, ``sigma_max``, and what the family needs
    under ``about``; ``name``, ``data`` and ``license`` are optional.

    Raises:
        CheckpointError: there is no card, it lacks something, or the weights cannot be read.
    """
    values = _card_of(path)
    try:
        weights = safetensors.torch.load_file(path)
        model = Component(
            path.name, sha256_file(path), path.stat().st_size, values["family"], values.get("about") or {}
        )
        sigmas = float(values["sigma_min"]), float(values["sigma_max"])
        shape = tuple(int(size) for size in values["shape"])
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"the weights {path} cannot be read as safetensors ({error}).") from error
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the card beside {path} cannot be used: {error}.") from error
    words = {"name": path.stem, "data": UNKNOWN, "license": UNKNOWN}
    name, data, terms = (str(values.get(key, default)) for key, default in words.items())
    return Card(name, data, terms, shape, *sigmas, model), weights


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
    """The ``Model`` that ``module:function`` returns; modules of the working folder are found too.

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


def write_link(folder: Path, spec: str, model: Model, *, name: str) -> None:
    """Write a checkpoint without weights into ``folder``: a link to ``model`` by ``spec`` and SHA-256."""
    write_json(folder / LINK, {"model": spec, "sha256": model.sha256})
    terms = f"that of {spec}"
    description = Description(name, UNKNOWN, terms, model.shape, model.sigma_min, model.sigma_max)
    about = {"classes": model.classes}
    add_component(folder, "model", LINKED, about, description=description, file=LINK)


def follow_link(card: Card, folder: Path, load: Callable[[str], Model]) -> Model:
    """The model that the link in ``folder`` refers to, loaded by ``load``, under the checkpoint's name.

    Raises:
        CheckpointError: it is missing, or its weights have changed since it was fetched.
    """
    link = json.loads(verified(folder, card.model).read_text(encoding="utf-8"))
    model = load(link["model"])
    if model.sha256 != link["sha256"]:
        raise CheckpointError(
            f"the checkpoint {folder} stands for {link['model']!r} with sha256 {link['sha256'][:12]}…, which "
            f"is now another model, with {model.sha256[:12]}…. Run 'adasde fetch --out {folder}' to take the "
            "new one (what was distilled for the old one does not fit it), or put the old one back."
        )
    return replace(model, name=card.name)


@contextmanager
def _working_folder() -> Iterator[None]:
    """Find modules in the working folder as well, after all others."""
    folder = str(Path.cwd())
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
