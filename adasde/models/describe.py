"""Descriptions of models for ``adasde models`` and ``adasde init``: bundled ones and model cards alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from adasde.models.core.checkpoint import Card, Component, cards
from adasde.models.core.registry import FAMILIES
from adasde.models.families.edm.family import describe
from adasde.models.hub.cards import ModelCard, card_of, catalogue, extractor_of
from adasde.models.memory import estimate_memory, weights_of


def described() -> list[dict[str, Any]]:
    """The facts of every model, the bundled ones first."""
    bundled = [_bundled(card) for card in cards().values()]
    return bundled + [_fetched(card) for card in catalogue().values()]


def description(name: str, *, batch: int) -> dict[str, Any]:
    """All facts of one model, with an estimate of its memory where its network is known.

    Raises:
        CheckpointError: there is no such model.
    """
    bundled = cards().get(name)
    card = as_built(name) if bundled is None else bundled
    facts = _fetched(card_of(name)) if bundled is None else _bundled(bundled)
    return {**facts, "memory": None if card is None else _estimate(card, batch)}


def _estimate(card: Card, batch: int) -> dict[str, Any] | None:
    if card.model.family not in FAMILIES:
        return None
    others = [one for one in (card.classifier, card.autoencoder) if one is not None]
    memory = asdict(estimate_memory(card, card.model, batch=batch))
    return {"batch": batch, **memory, "others": sum(weights_of(card, one) for one in others)}


def as_built(name: str) -> Card | None:
    """The card of the checkpoint that a model card becomes; None if it does not say how the network is built.

    Raises:
        CheckpointError: there is no such card.
    """
    card = card_of(name)
    built: dict[str, Any] = {
        file.role: Component(file.name, "", 0, file.family or card.family, file.built)
        for file in card.files
        if file.built is not None and file.role in ("model", "autoencoder", "classifier")
    }
    if card.network is not None:
        family, _, about = describe(card.network.class_name, card.network.arguments)
        built["model"] = Component(card.files[0].name, "", 0, family, about)
    if "model" not in built:
        return None
    sigmas = card.sigma_min, card.sigma_max
    return Card(card.name, card.data, card.licence, tuple(card.shape), *sigmas, **built)


def _bundled(card: Card) -> dict[str, Any]:
    files = [
        {"role": role, "name": one.file, "url": None, "sha256": one.sha256, "bytes": one.bytes}
        for role, one in card.components.items()
    ]
    unused = ("image", "guidance", "terms", "terms_url", "reference", "prompts")
    return {
        "name": card.name,
        "title": card.data,
        "from": "packaged",
        "family": card.model.family,
        "shape": list(card.shape),
        "classes": card.classes,
        "sigma": [card.sigma_min, card.sigma_max],
        "licence": card.license,
        "features": "its own",
        "files": files,
        "recipes": {},
        "published": {},
        **dict.fromkeys(unused),
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
        "published": {name: {str(k): fid for k, fid in v.items()} for name, v in card.published.items()},
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
    shape = _by(facts["shape"]) + (f" latents of images {_by(facts['image'])}" if facts["image"] else "")
    terms = f". {facts['terms']} {facts['terms_url']}" if facts["terms"] else ""
    guidance = facts["guidance"]
    fields = [
        ("family", f"{facts['family']}; {shape}; {facts['classes'] or 'no'} classes"),
        ("sigma", f"{facts['sigma'][0]:g} to {facts['sigma'][1]:g}"),
        ("guidance", f"{guidance['kind']}, {guidance['scale']:g}" if guidance else None),
        ("licence", facts["licence"] + terms),
        *(("file", _file(file)) for file in facts["files"]),
        ("features", facts["features"] or "none"),
        ("reference", facts["reference"] and facts["reference"]["url"]),
        ("prompts", facts["prompts"]),
        *((f"NFE {nfe}", _recipe(recipe)) for nfe, recipe in facts["recipes"].items()),
        *(("published", _published(name, fids)) for name, fids in facts["published"].items()),
        ("memory", _memory(facts["memory"])),
    ]
    lines = [f"{word:<9} {text}" for word, text in fields if text]
    return "\n".join([f"{facts['name']}: {facts['title']} ({facts['from']})", *lines])


def _file(file: dict[str, Any]) -> str:
    known = (
        f"sha256 {file['sha256'][:12]}…" if file["sha256"] else "sha256 not published: trusted on first use"
    )
    return f"{file['role']}: {file['url'] or file['name']} ({_size(file['bytes'])}, {known})"


def beginning(facts: dict[str, Any], *, out: str, judges: Sequence[str] = (), time: str = "") -> str:
    """Summary of ``adasde init``: terms, downloads (``judges`` too), memory, ``time``, the next command."""
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


def _recipe(recipe: dict[str, Any]) -> str:
    kind = "published" if recipe["published"] else "inferred"
    note = f" ({recipe['note']})" if recipe["note"] else ""
    return (
        f"{kind}: M {recipe['inserted']}, gamma_max {recipe['gamma_max']:g}, alpha {recipe['alpha']:g}, "
        f"scale_dir {recipe['scale_dir']:g}, scale_time {recipe['scale_time']:g}, lr {recipe['lr']:g}, batch "
        f"{recipe['batch']}, {recipe['trajectories']} trajectories, {recipe['schedule']}{note}"
    )


def _published(name: str, fids: dict[Any, float]) -> str:
    numbers = ", ".join(f"{fid:g} at NFE {nfe}" for nfe, fid in fids.items())
    return f"{name}: FID {numbers}"


def _memory(memory: dict[str, Any] | None) -> str:
    if memory is None:
        return "known once it is fetched"
    others = memory["others"]
    beside = f"; its other networks have {others / 1e6:.1f} MB of weights" if others else ""
    return (
        f"{memory['parameters']:,} numbers, {memory['weights'] / 1e6:.1f} MB of weights; a batch "
        f"of {memory['batch']} takes about {memory['activations'] / 1e6:.1f} MB more (float32){beside}"
    )
