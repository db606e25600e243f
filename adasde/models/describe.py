"""What ``adasde models`` says: packaged models and model cards, in one form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from adasde.models.checkpoint import Card, Component, cards
from adasde.models.families.edm.family import describe
from adasde.models.hub.cards import ModelCard, card_of, catalogue, extractor_of
from adasde.models.memory import estimate_memory, weights_of
from adasde.models.registry import FAMILIES


def described() -> list[dict[str, Any]]:
    """The facts of every model, the packaged ones first."""
    packaged = [_packaged(card) for card in cards().values()]
    return packaged + [_fetched(card) for card in catalogue().values()]


def description(name: str, *, batch: int) -> dict[str, Any]:
    """All facts of one model, with an estimate of its memory where its network is known here.

    Raises:
        CheckpointError: there is no such model.
    """
    packaged = cards()
    if name in packaged:
        return {**_packaged(packaged[name]), "memory": _estimate(packaged[name], batch)}
    card = card_of(name)
    built = as_built(name)
    return {**_fetched(card), "memory": None if built is None else _estimate(built, batch)}


def _estimate(card: Card, batch: int) -> dict[str, Any] | None:
    if card.model.family not in FAMILIES:
        return None
    others = [part for part in (card.classifier, card.autoencoder) if part is not None]
    beside = sum(weights_of(card, part) for part in others)
    return {"batch": batch, **asdict(estimate_memory(card, card.model, batch=batch)), "others": beside}


def as_built(name: str) -> Card | None:
    """What the checkpoint of a model card will be like, if the card says how its network is built.

    Raises:
        CheckpointError: there is no such card.
    """
    card = card_of(name)
    parts: dict[str, Component] = {
        file.role: Component(file.name, "", 0, file.family or card.family, file.built)
        for file in card.files
        if file.built is not None
    }
    if card.network is not None:
        family, _, about = describe(card.network.class_name, card.network.arguments)
        parts["model"] = Component(card.files[0].name, "", 0, family, about)
    if "model" not in parts:
        return None
    ends = (card.sigma_min, card.sigma_max)
    return Card(
        card.name,
        card.data,
        card.licence,
        tuple(card.shape),
        *ends,
        parts["model"],
        autoencoder=parts.get("autoencoder"),
        classifier=parts.get("classifier"),
    )


def _packaged(card: Card) -> dict[str, Any]:
    files = [
        {"role": role, "name": part.file, "url": None, "sha256": part.sha256, "bytes": part.bytes}
        for role, part in (("model", card.model), ("features", card.features))
        if part is not None
    ]
    return {
        "name": card.name,
        "title": card.data,
        "from": "packaged",
        "family": card.model.family,
        "shape": list(card.shape),
        "image": None,
        "classes": card.classes,
        "sigma": [card.sigma_min, card.sigma_max],
        "guidance": None,
        "licence": card.license,
        "terms": None,
        "terms_url": None,
        "features": "its own",
        "reference": None,
        "prompts": None,
        "files": files,
        "recipes": {},
    }


def _fetched(card: ModelCard) -> dict[str, Any]:
    values = card.model_dump(mode="json", exclude={"sigma_min", "sigma_max", "data", "files", "network"})
    files = [{"name": file.name, **file.model_dump(mode="json", exclude={"built"})} for file in card.files]
    return {
        **values,
        "from": "fetched",
        "sigma": [card.sigma_min, card.sigma_max],
        "files": files,
        "recipes": {str(nfe): recipe.model_dump(mode="json") for nfe, recipe in card.recipes.items()},
    }


def lines(models: list[dict[str, Any]]) -> list[str]:
    """One line a model, in columns."""
    rows = [("name", "family", "shape", "classes", "recipes for NFE", "", "licence")]
    for facts in models:
        recipes = ", ".join(_marked(nfe, recipe) for nfe, recipe in facts["recipes"].items())
        licence = str(facts["licence"]).partition(";")[0].partition(" (")[0]
        shape, classes = _by(facts["shape"]), str(facts["classes"] or "–")
        rows.append((facts["name"], facts["family"], shape, classes, recipes or "–", facts["from"], licence))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return [*padded, "In brackets: not published, inferred. 'adasde models show NAME' tells all of one."]


def _by(sizes: list[int]) -> str:
    return "×".join(str(size) for size in sizes)


def _marked(nfe: str, recipe: dict[str, Any]) -> str:
    return nfe if recipe["published"] else f"({nfe})"


def paragraphs(facts: dict[str, Any]) -> str:
    """All facts of one model for people."""
    lines = [f"{facts['name']}: {facts['title']} ({facts['from']})"]
    shape = _by(facts["shape"]) + (f" latents of images {_by(facts['image'])}" if facts["image"] else "")
    lines += [
        f"family    {facts['family']}; {shape}; {facts['classes'] or 'no'} classes",
        f"sigma     {facts['sigma'][0]:g} to {facts['sigma'][1]:g}",
    ]
    if facts["guidance"]:
        lines.append(f"guidance  {facts['guidance']['kind']}, {facts['guidance']['scale']:g}")
    lines.append(
        f"licence   {facts['licence']}"
        + (f". {facts['terms']} {facts['terms_url']}" if facts["terms"] else "")
    )
    for file in facts["files"]:
        sha256 = (
            f"sha256 {file['sha256'][:12]}…"
            if file["sha256"]
            else "sha256 not published: trusted on first use"
        )
        lines.append(
            f"file      {file['role']}: {file['url'] or file['name']} ({_size(file['bytes'])}, {sha256})"
        )
    lines.append(f"features  {facts['features'] or 'none'}")
    if facts["reference"]:
        lines.append(f"reference {facts['reference']['url']}")
    if facts["prompts"]:
        lines.append(f"prompts   {facts['prompts']}")
    lines += [_recipe(nfe, recipe) for nfe, recipe in facts["recipes"].items()]
    lines.append(_memory(facts["memory"]))
    return "\n".join(lines)


def beginning(facts: dict[str, Any], *, out: str, judges: Sequence[str] = (), time: str = "") -> str:
    """What ``adasde init`` says: terms, downloads (of ``judges`` too), memory, ``time``, what is next."""
    lines = [f"init: {out} for {facts['name']} ({facts['title']})"]
    wanted = paragraphs(facts).splitlines()
    lines += [line for line in wanted if line.startswith(("licence", "file", "reference", "memory"))]
    if facts["from"] == "fetched" and facts["features"]:
        lines += _fetched_too("features", facts["features"])
    for judge in judges:
        lines += _fetched_too("judge", judge)
    lines += [f"time      {time}"] if time else []
    return "\n".join([*lines, "next      adasde estimate, then adasde run"])


def _fetched_too(word: str, extractor: str) -> list[str]:
    return [f"{word:<9} {file.url} ({_size(file.bytes)})" for file in extractor_of(extractor).files]


def _size(size: int | None) -> str:
    return f"{size / 1e6:.1f} MB" if size else "size not known"


def _recipe(nfe: str, recipe: dict[str, Any]) -> str:
    kind = "published" if recipe["published"] else "inferred"
    gamma = "not known" if recipe["gamma_max"] is None else f"{recipe['gamma_max']:g}"
    note = f" ({recipe['note']})" if recipe["note"] else ""
    return (
        f"NFE {nfe:<5} {kind}: M {recipe['inserted']}, gamma_max {gamma}, alpha {recipe['alpha']:g}, "
        f"scale_dir {recipe['scale_dir']:g}, scale_time {recipe['scale_time']:g}, lr {recipe['lr']:g}, batch "
        f"{recipe['batch']}, {recipe['trajectories']} trajectories, {recipe['schedule']}{note}"
    )


def _memory(memory: dict[str, Any] | None) -> str:
    if memory is None:
        return "memory    known once it is fetched"
    others = memory["others"]
    beside = f"; its other networks have {others / 1e6:.1f} MB of weights" if others else ""
    return (
        f"memory    {memory['parameters']:,} numbers, {memory['weights'] / 1e6:.1f} MB of weights; a batch "
        f"of {memory['batch']} takes about {memory['activations'] / 1e6:.1f} MB more (float32){beside}"
    )
