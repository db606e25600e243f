"""``adasde init``: a commented params.yaml for a model, with the paper's recipe or another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from adasde.config.baselines import PAPER
from adasde.config.params import Params, check_params
from adasde.config.sections import DistillParams, Grid, NetworkParams, TeacherParams
from adasde.distillation.recipes import RECIPES, Sections, recipe_named
from adasde.errors import ParamsError
from adasde.models.core.checkpoint import cards
from adasde.models.hub.cards import ModelCard, Recipe, card_of
from adasde.sampling.schedules import unknown
from adasde.utils.yaml_schema import Section, parse_yaml

BASELINES: dict[str, dict[str, Any]] = {
    "DDIM (Euler)": {"solver": "euler", "schedule": "time_uniform", "rho": 1.0},
    "DPM-Solver++(3M)": {"solver": "dpmpp-3m", "schedule": "logsnr", "rho": 1.0},
    "iPNDM": {"solver": "ipndm", "schedule": "time_uniform", "rho": 1.0},
}

LATENT_BASELINES: dict[str, dict[str, Any]] = {
    "DDIM (Euler)": {"solver": "euler", "schedule": "discrete", "rho": 1.0},
    "DPM-Solver(2M)": {"solver": "dpm-2m", "schedule": "discrete", "rho": 1.0},
    "iPNDM": {"solver": "ipndm", "schedule": "discrete", "rho": 1.0, "options": {"order": 4}},
}
"""Without dynamic thresholding, which is for pixels (zju-pi/diff-sampler, launch.sh)."""

OVERRIDES: dict[str, Sections] = {
    "glyphs": {
        "teacher": {"trajectories": 16_000},
        "distill": {"pixel_weight": 0.01, "feature_weight": 0.03, "trajectories": 128_000},
    }
}
"""Differences from ``multistep`` for digits: a less accurate network is a worse teacher."""

OFFERED = {name: recipe for name, recipe in RECIPES.items() if recipe.sections}
"""Recipes that a params.yaml can be written for."""

MULTISTEP = "multistep"
"""Recipe that measured best on the bundled models (docs/quality.md)."""

SECTIONS: dict[str, type[Section]] = {"schedule": Grid, "teacher": TeacherParams, "distill": DistillParams}
"""Sections that a recipe fills."""


def template(name: str, nfe: Sequence[int], *, recipe: str | None = None) -> str:
    """The text of a params.yaml for the model ``name``, checked.

    ``recipe``: a name of ``OFFERED``; None: the paper's, or for a bundled model what measured best on it.

    Raises:
        CheckpointError: there is no such model.
        ParamsError: there is no such recipe, or no published one for a number of evaluations.
    """
    card = None if name in cards() else card_of(name)
    recipe = recipe or (MULTISTEP if card is None else PAPER)
    if recipe_named(recipe) and recipe not in OFFERED:
        raise ParamsError(unknown("recipe", recipe, OFFERED))
    own = _merged({k: _changes(name, recipe, card, nfe=k) for k in nfe})
    values = (
        {"model": name, "features": None, "prompts": None, "judges": judges_of(card)}
        | {"students": [recipe], "recipes": {recipe: {"recipe": recipe, **own}} if own else {}}
        | {"nfe": list(nfe), "seed": 0, "guidance": _guidance(card), "network": NetworkParams().model_dump()}
        | {"afs": card is None or recipe != PAPER or card.recipes[nfe[0]].afs}
        | _shared(card)
        | _evaluation(card)
    )
    text = _head(name, nfe, card, recipe=recipe) + _written(values)
    check_params(parse_yaml(text, source="params.yaml"))
    return text


def _changes(name: str, recipe: str, card: ModelCard | None, *, nfe: int) -> Sections:
    """What differs from the packaged ``recipe`` on this model at ``nfe`` evaluations."""
    if card is not None and recipe == PAPER:
        return _differing(_published(_recipe_of(card, nfe)), RECIPES[recipe].at(nfe))
    return OVERRIDES.get(name, {}) if recipe == MULTISTEP else {}


def _differing(values: Sections, from_: Sections) -> Sections:
    """The entries of ``values`` that ``from_`` does not have."""
    return {
        key: {name: value for name, value in section.items() if from_[key].get(name) != value}
        for key, section in values.items()
    }


def _shared(card: ModelCard | None) -> Sections:
    """The sections that hold for all students."""
    grid = Grid() if card is None else Grid(sigma_min=card.sigma_min, sigma_max=card.sigma_max)
    batch = TeacherParams().batch if card is None else 64
    return {
        "schedule": grid.model_dump(include={"sigma_min", "sigma_max"}),
        "teacher": {"batch": batch},
        "distill": {"start": None},
    }


def _merged(made: Mapping[int, Sections]) -> dict[str, Any]:
    """An entry of ``recipes``: the changes of all budgets, and under ``per_nfe`` those of some."""
    first = next(iter(made.values()))
    common: Sections = {
        key: {
            name: value
            for name, value in section.items()
            if all(name in one.get(key, {}) and one[key][name] == value for one in made.values())
        }
        for key, section in first.items()
    }
    per_nfe = {
        k: {key: left for key, left in _differing(one, common).items() if left} for k, one in made.items()
    }
    found: dict[str, Any] = {key: section for key, section in common.items() if section}
    some = {k: sections for k, sections in per_nfe.items() if sections}
    return found | ({"per_nfe": some} if some else {})


def _recipe_of(card: ModelCard, nfe: int) -> Recipe:
    if nfe not in card.recipes:
        known = ", ".join(str(k) for k in card.recipes)
        raise ParamsError(
            f"the card of {card.name!r} has no recipe for nfe {nfe}; it has some for {known}. Take "
            "one of these, or copy the nearest by hand."
        )
    return card.recipes[nfe]


def _published(recipe: Recipe) -> Sections:
    """Numbers of a model card, as differences from the recipe ``paper``."""
    learned = {
        name: getattr(recipe, name) for name in ("gamma_max", "scale_dir", "scale_time", "lr", "batch")
    }
    ends = {"lr_final": min(0.01, recipe.lr) if recipe.cosine else recipe.lr}
    sizes = {"trajectories": recipe.trajectories}
    taught = {"solver": recipe.teacher, "inserted": recipe.inserted, "shard": 500}
    return {
        "schedule": {"name": recipe.schedule, "rho": recipe.rho},
        "teacher": taught | sizes,
        "distill": learned | ends | sizes | {"feature_weight": recipe.alpha},
    }


def _evaluation(card: ModelCard | None) -> dict[str, Any]:
    """Samples, evaluation, baselines and promotion."""
    subsets = {"kid_subsets": 10, "kid_subset_size": 500, "neighbourhood": 3}
    seeds = {"first_seed": 1_000_000, "batch": 1000 if card is None else 64}
    if card is None:
        sample = {"images": 1000, "ranges": 3, **seeds, "classes": "balanced"}
        evaluate = subsets | {"floor_steps": 50, "reference": None}
        return {"sample": sample, "evaluate": evaluate, "baselines": BASELINES}
    prompted = card.prompts is not None  # every prompt once
    images = {"images": 30_000 if prompted else 50_000, "ranges": 1}
    floor = 18 if card.shape[-1] <= 32 else 40
    promotion: dict[str, Any] = {"metric": "fid", "spread": 0.0}  # one range has none
    return {
        "sample": {**images, **seeds, "classes": "balanced" if prompted else "random"},
        "evaluate": subsets | {"floor_steps": floor, "reference": None},
        "baselines": PAPER if card.image is None else LATENT_BASELINES,
        "promotion": promotion | ({} if card.reference is None else {"tolerance": {}}),
    }


def judges_of(card: ModelCard | None) -> list[str]:
    """Metrics beside FID: the CLIP score of a text-to-image model."""
    return [] if card is None or card.prompts is None else ["clip-vit-large-patch14"]


def _guidance(card: ModelCard | None) -> float:
    free = card is not None and card.guidance is not None and card.guidance.kind == "classifier-free"
    return card.guidance.scale if free and card and card.guidance else 1.0


def _head(name: str, nfe: Sequence[int], card: ModelCard | None, *, recipe: str) -> str:
    lines = [f"# AdaSDE for {name}, written by 'adasde init'; the project's params.yaml explains every key."]
    if card is None and recipe == MULTISTEP:
        return "\n".join([*lines, "# These values measured best on this model.", ""])
    if card is not None and recipe == PAPER:
        lines.append("# (recipe): the paper's, with the numbers of the model's card:")
        lines += [f"#   NFE {k}: {_origin(card.recipes[k])}" for k in nfe]
    else:
        lines.append(f"# (recipe): {recipe}, {OFFERED[recipe].description}.")
    if card is None:
        return "\n".join([*lines, ""])
    if any(OFFERED[recipe].at(k)["distill"]["energy_weight"] for k in nfe):
        lines.append("# energy_weight compares with real images: name yours in evaluate.reference.")
    if (guided := card.guidance) and guided.kind != "classifier-free":
        lines.append(f"# The paper guides by a {guided.kind}, scale {guided.scale:g}.")
    if card.reference is None:
        lines.append("# No reference statistics are published: name yours in evaluate.reference.")
    else:
        lines.append("# Promotion compares FID alone: only the statistics of the real images are published.")
    if card.image is None:
        lines.append("# baselines: paper, the rows of the paper's table (docs/evaluation.md).")
    return "\n".join([*lines, ""])


def _origin(recipe: Recipe) -> str:
    kind = "published" if recipe.published else "inferred"
    return f"{kind}: {recipe.note}" if recipe.note else kind


def _written(values: dict[str, Any]) -> str:
    """YAML with the help of every key behind it, a section a paragraph."""
    lines: list[str] = []
    for key, value in values.items():
        field = Params.model_fields[key]
        if key == "recipes" and value:
            lines += _recipes(value)
            continue
        keys = getattr(field.annotation, "model_fields", None)
        if not isinstance(value, dict) or not value:
            lines.append(_line(key, value, field.description))
            continue
        lines += ["", f"{key}:"]
        lines += [
            "  " + _line(name, inner, keys[name].description if keys else "") for name, inner in value.items()
        ]
    return "\n".join(lines) + "\n"


def _recipes(recipes: Mapping[str, dict[str, Any]]) -> list[str]:
    """The section ``recipes``: what differs from the packaged ones, with the help of every key."""
    lines = ["recipes:    # (recipe): changes to a packaged one"]
    for name, own in recipes.items():
        lines += [f"  {name}:", "    " + _line("recipe", own["recipe"], OFFERED[own["recipe"]].description)]
        for key in (key for key in SECTIONS if key in own):
            lines.append(f"    {key}:")
            fields = SECTIONS[key].model_fields
            lines += [
                f"      {_line(one, value, fields[one].description)}" for one, value in own[key].items()
            ]
        if "per_nfe" in own:
            lines.append("    per_nfe:")
            lines += [f"      {_line(str(nfe), sections, '')}" for nfe, sections in own["per_nfe"].items()]
    return lines


def _line(key: str, value: Any, why: str | None) -> str:
    flow = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    text = f"{key}: {flow.removesuffix(chr(10)).removesuffix('...').strip()}"
    return f"{text}    # {why}" if why else text


def reference_of_keys() -> str:
    """Table of docs/params.md: the keys that recipes set, their defaults, and the packaged values."""
    names = list(OFFERED)
    lines = [f"| key | {' | '.join(['default', *names])} | |", "|---" * (len(names) + 3) + "|"]
    for section, model in SECTIONS.items():
        for key, field in model.model_fields.items():
            if key == "per_nfe":
                continue
            values = [_shown(field.default), *(_of_recipe(name, section, key) for name in names)]
            lines.append(f"| `{section}.{key}` | {' | '.join(values)} | {field.description} |")
    return "\n".join(lines) + "\n"


def _of_recipe(name: str, section: str, key: str) -> str:
    budgets = sorted(RECIPES[name].per_nfe) or [0]
    found = [RECIPES[name].at(nfe).get(section, {}).get(key) for nfe in budgets]
    texts = list(dict.fromkeys(_shown(value) for value in found if value is not None))
    return texts[0] if len(texts) == 1 else " / ".join(_shown(value) for value in found if value is not None)


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else f"{value}"
