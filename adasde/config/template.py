"""``adasde init``: a commented params.yaml with the paper's recipe for a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from adasde.config.params import Params, check_params
from adasde.config.sections import DistillParams, Grid, NetworkParams, TeacherParams
from adasde.distillation.recipes import RECIPES
from adasde.errors import ParamsError
from adasde.models.core.checkpoint import cards
from adasde.models.hub.cards import ModelCard, Recipe, card_of
from adasde.utils.yaml_schema import parse_yaml

BASELINES = {
    "DDIM (Euler)": {"solver": "euler", "schedule": "time_uniform", "rho": 1.0},
    "DPM-Solver++(3M)": {"solver": "dpmpp-3m", "schedule": "logsnr", "rho": 1.0},
    "iPNDM": {"solver": "ipndm", "schedule": "time_uniform", "rho": 1.0},
}

OVERRIDES: dict[str, dict[str, dict[str, Any]]] = {
    "glyphs": {
        "teacher": {"trajectories": 16_000},
        "distill": {"pixel_weight": 0.01, "feature_weight": 0.03, "trajectories": 128_000},
    }
}
"""Differences from the recipe for digits: a less accurate network is a worse teacher."""

RECIPE = {
    "teacher": {"inserted", "trajectories"},
    "distill": {"gamma_max", "scale_dir", "scale_time", "feature_weight", "lr", "trajectories"},
}
"""Keys whose values are the paper's."""


def template(name: str, nfe: Sequence[int]) -> str:
    """The text of a params.yaml for the model ``name``, checked.

    Raises:
        CheckpointError: there is no such model.
        ParamsError: there is no recipe for a number of evaluations.
    """
    card = None if name in cards() else card_of(name)
    recipes = _measured(name) if card is None else _recipes(card, nfe)
    values = (
        {"model": name, "features": None, "prompts": None, "judges": judges_of(card)}
        | {"nfe": list(nfe), "seed": 0, "guidance": _guidance(card), "network": NetworkParams().model_dump()}
        | recipes
        | _evaluation(card)
    )
    text = _head(name, nfe, card) + _written(values, recipe=card is not None)
    check_params(parse_yaml(text, source="params.yaml"))
    return text


def _measured(name: str) -> dict[str, Any]:
    """Sections that measured best on a bundled model (docs/quality.md)."""
    taught: dict[str, Any] = {"solver": "ipndm", "inserted": 1, "substeps": 1}
    taught |= {"trajectories": 8000, "shard": 2000}
    own = OVERRIDES.get(name, {})
    sections = {
        "schedule": Grid(rho=1.5),
        "teacher": TeacherParams(**taught | own.get("teacher", {})),
        "distill": DistillParams(**RECIPES["multistep"].sections["distill"] | own.get("distill", {})),
    }
    return {"afs": True} | {key: section.model_dump() for key, section in sections.items()}


def _recipes(card: ModelCard, nfe: Sequence[int]) -> dict[str, Any]:
    if missing := [k for k in nfe if k not in card.recipes]:
        known = ", ".join(str(k) for k in card.recipes)
        raise ParamsError(
            f"the card of {card.name!r} has no recipe for nfe {missing[0]}; it has some for {known}. Take "
            "one of these, or copy the nearest by hand."
        )
    made = {k: _sections(card, card.recipes[k]) for k in nfe}
    first = made[nfe[0]]
    sections: dict[str, Any] = {}
    for key, values in first.items():
        others = {
            k: {name: value for name, value in made[k][key].items() if value != values[name]} for k in nfe
        }
        sections[key] = {**values, "per_nfe": {k: changes for k, changes in others.items() if changes}}
    return {"afs": card.recipes[nfe[0]].afs} | sections


def _sections(card: ModelCard, recipe: Recipe) -> dict[str, dict[str, Any]]:
    ends = {"sigma_min": card.sigma_min, "sigma_max": card.sigma_max}
    teacher = {"solver": recipe.teacher, "inserted": recipe.inserted, "substeps": 1}
    sizes = {"trajectories": recipe.trajectories, "shard": 500, "batch": recipe.batch}
    learned = {name: getattr(recipe, name) for name in ("scale_dir", "scale_time", "batch", "trajectories")}
    weights = {"feature_weight": float(recipe.alpha), "pixel_weight": 1.0, "inner_weight": 0.0}
    rates = {"lr": recipe.lr, "lr_final": min(0.01, recipe.lr) if recipe.cosine else recipe.lr}
    gamma = DistillParams().gamma_max if recipe.gamma_max is None else recipe.gamma_max
    form = {"solver": "adasde", "points": 1, "learn_grid": False, "gamma_max": gamma}
    return {
        "schedule": {"name": recipe.schedule, "rho": recipe.rho, **ends},
        "teacher": teacher | sizes,
        "distill": {**form, **learned, **weights, **rates},
    }


def _evaluation(card: ModelCard | None) -> dict[str, Any]:
    """Samples, evaluation, baselines and promotion."""
    steps = 50 if card is None else 18 if card.shape[-1] <= 32 else 40
    images = {"images": 1000, "ranges": 3} if card is None else {"images": 50_000, "ranges": 1}
    seeds = {"first_seed": 1_000_000, "batch": 1000 if card is None else 64}
    sample = {**images, **seeds, "classes": "balanced"}
    subsets = {"kid_subsets": 10, "kid_subset_size": 500, "neighbourhood": 3}
    evaluate = subsets | {"floor_steps": steps, "reference": None}
    sections: dict[str, Any] = {"sample": sample, "evaluate": evaluate, "baselines": BASELINES}
    if card is not None and card.reference is not None:
        sections["promotion"] = {"metric": "fid", "tolerance": {}}
    return sections


def judges_of(card: ModelCard | None) -> list[str]:
    """Metrics beside FID: the CLIP score of a text-to-image model."""
    return [] if card is None or card.prompts is None else ["clip-vit-large-patch14"]


def _guidance(card: ModelCard | None) -> float:
    free = card is not None and card.guidance is not None and card.guidance.kind == "classifier-free"
    return card.guidance.scale if free and card and card.guidance else 1.0


def _head(name: str, nfe: Sequence[int], card: ModelCard | None) -> str:
    lines = [f"# AdaSDE for {name}, written by 'adasde init'; the project's params.yaml explains every key."]
    if card is None:
        return "\n".join([*lines, "# These values measured best on this model.", ""])
    lines.append("# (recipe): the paper's, for each number of network evaluations:")
    for k in nfe:
        recipe = card.recipes[k]
        note = f": {recipe.note}" if recipe.note else ""
        gamma = "; gamma_max is not known, ours" if recipe.gamma_max is None else ""
        lines.append(f"#   NFE {k}: {'published' if recipe.published else 'inferred'}{note}{gamma}")
    if (guided := card.guidance) and guided.kind != "classifier-free":
        lines.append(f"# The paper guides by a {guided.kind}, scale {guided.scale:g}.")
    if card.reference is None:
        lines.append("# No reference statistics are published: name yours in evaluate.reference.")
    else:
        lines.append("# Promotion compares FID alone: only the statistics of the real images are published.")
    return "\n".join([*lines, ""])


def _written(values: dict[str, Any], *, recipe: bool) -> str:
    """YAML with the help of every key behind it, a section a paragraph."""
    lines: list[str] = []
    for key, value in values.items():
        field = Params.model_fields[key]
        keys = getattr(field.annotation, "model_fields", None)
        if keys is None and not isinstance(value, dict):
            lines.append(_line(key, value, field.description))
            continue
        lines += ["", f"{key}:"]
        for name, inner in value.items():
            why = keys[name].description if keys else ""
            marked = recipe and name in RECIPE.get(key, ())
            lines.append("  " + _line(name, inner, f"{why} (recipe)" if marked else why))
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any, why: str | None) -> str:
    flow = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    text = f"{key}: {flow.removesuffix(chr(10)).removesuffix('...').strip()}"
    return f"{text}    # {why}" if why else text
