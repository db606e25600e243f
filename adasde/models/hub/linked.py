"""Models whose weights stay where they are: a checkpoint folder that says where, and of which weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from adasde.errors import CheckpointError
from adasde.models.checkpoint import CARD, VERSION, Card, verified
from adasde.types import Model
from adasde.utils.atomic_io import sha256_file, write_json

FAMILY = "linked"
LINK = "link.json"


def write_link(folder: Path, spec: str, model: Model, *, name: str) -> None:
    """Write the checkpoint ``name`` into ``folder``: not the weights, but ``spec``, which ``model`` is."""
    write_json(folder / LINK, {"model": spec, "sha256": model.sha256})
    part = {"file": LINK, "sha256": sha256_file(folder / LINK), "bytes": (folder / LINK).stat().st_size}
    about = {"classes": model.classes}
    head = {
        "version": VERSION,
        "name": name,
        "data": "not said",
        "license": f"that of {spec}",
        "shape": list(model.shape),
        "sigma_min": model.sigma_min,
        "sigma_max": model.sigma_max,
    }
    write_json(folder / CARD, head | {"model": part | {"family": FAMILY, "about": about}})


def follow(card: Card, folder: Path, load: Callable[[str], Model]) -> Model:
    """What the link in ``folder`` means, by ``load``, under the name of the checkpoint.

    Raises:
        CheckpointError: it is not there any more, or its weights are others than when it was fetched.
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
