"""Model cards: the source of a published model, its terms, and the paper's settings."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from adasde.errors import CheckpointError
from adasde.utils.yaml_schema import Positive, PositiveInt, Section, Weight, explain, read_yaml

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Address = Annotated[str, Field(pattern=r"^(https|s3|hf|file)://[^\s]+$")]
Text = Annotated[str, Field(min_length=1)]
Role = Literal["model", "features", "autoencoder", "classifier", "dinov2", "clip", "tokenizer"]
EVALUATORS = ("dinov2", "clip")
"""Roles of evaluation networks beside the feature extractor, ``judges`` of params.yaml."""


class CardFile(Section):
    """One file of a model.

    Attributes:
        role: of the checkpoint's file that is made of it.
        family: of the converter, where it is not the card's.
        sha256: null: unpublished, recorded in checkpoints.lock on the first fetch.
        sha256_begins: its first digits, where no more is published.
        bytes: null: unknown.
        member: the file that is meant in an archive.
        key: the entry of the file that holds the weights.
        about: unusual settings that the converter cannot infer from the weights, as ``head``: channels of
            an attention head of OpenAI's networks.
        built: the converter's ``about``, for estimates before the download.
    """

    role: Role
    url: Address
    mirrors: Annotated[tuple[Address, ...], Field(strict=False)] = ()  # a list in YAML
    family: Text | None = None
    sha256: Sha256 | None
    sha256_begins: Annotated[str, Field(pattern=r"^[0-9a-f]{6,64}$")] | None = None
    bytes: PositiveInt | None
    member: Text | None = None
    key: Text | None = None
    about: dict[str, Any] = Field(default={})
    built: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """Its name on disk."""
        return self.url.partition("@")[0].rpartition("/")[2]


class CardStatistics(Section):
    """Reference statistics (mean and covariance of features) of the data that the model was trained on."""

    url: Address
    sha256: Sha256 | None


class Guidance(Section):
    """How the model is guided in the paper."""

    kind: Literal["classifier", "classifier-free"]
    scale: Weight


class Network(Section):
    """How the publisher's code builds the network: the class and its arguments, in the publisher's words."""

    class_name: Text
    arguments: dict[str, Any]


class Recipe(Section):
    """The paper's settings for one number of evaluations.

    Attributes:
        published: whether they are the authors'; otherwise inferred, ``note`` says from what.
        intervals: of the student's grid.
        inserted: M, nodes that the teacher inserts into every interval.
        gamma_max: highest noise injection; 0: none.
        alpha: weight of the loss on features.
    """

    published: bool
    intervals: PositiveInt
    inserted: Annotated[int, Field(ge=0)]
    gamma_max: Weight
    alpha: Weight
    scale_dir: Weight
    scale_time: Weight
    lr: Positive
    batch: PositiveInt
    trajectories: PositiveInt = 10000
    cosine: bool = True
    schedule: Text = "time_uniform"
    rho: Positive = 1.0
    afs: bool = True
    teacher: Text = "dpm2"
    note: str = ""


class PublishedCard(Section):
    """A network whose files are fetched.

    Attributes:
        licence: of the weights; ``terms`` are what one agrees to, shown before the download.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_.-]+$")]
    title: Text
    licence: Text
    terms: Text
    terms_url: Address
    files: Annotated[list[CardFile], Field(min_length=1)]


class ExtractorCard(PublishedCard):
    """A network that evaluates images, named by ``features`` or ``judges`` of params.yaml.

    Attributes:
        units: number of features of an image.
        files: the network, and the tokenizer where it reads prompts.
    """

    units: PositiveInt
    files: Annotated[list[CardFile], Field(min_length=1, max_length=2)]

    @property
    def role(self) -> Role:
        """``features``, or one of ``EVALUATORS``."""
        return self.files[0].role


class ModelCard(PublishedCard):
    """A model that is fetched.

    Attributes:
        family: of the converter that knows its files.
        shape: of one sample that the network sees [C, H, W].
        image: of one image, where that is another (latent models).
        classes: of a class-conditional model; 0: unconditional.
        features: name of the extractor card of its evaluation; null: none.
        prompts: address of the prompts of a text-to-image model's evaluation.
        recipes: by the number of evaluations; guidance doubles them.
        published: the paper's FID of 50 000 images (2510.23285), by sampler and number of evaluations.
    """

    data: Text
    family: Text
    shape: Annotated[list[PositiveInt], Field(min_length=3, max_length=3)]
    image: Annotated[list[PositiveInt], Field(min_length=3, max_length=3)] | None = None
    classes: Annotated[int, Field(ge=0)]
    sigma_min: Positive
    sigma_max: Positive
    guidance: Guidance | None = None
    network: Network | None = None
    features: Text | None
    reference: CardStatistics | None
    prompts: Address | None = None
    recipes: dict[PositiveInt, Recipe]
    published: dict[Text, dict[PositiveInt, Positive]] = Field(default={})

    @model_validator(mode="after")
    def _check(self) -> ModelCard:
        roles = [file.role for file in self.files]
        if len(set(roles)) < len(roles) or "model" not in roles:
            raise ValueError(f"its files must have one model and no role twice, not {', '.join(roles)}")
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min ({self.sigma_min}) must be below sigma_max ({self.sigma_max})")
        for nfe, recipe in self.recipes.items():
            if nfe != 2 * recipe.intervals - recipe.afs:
                raise ValueError(f"{recipe.intervals} intervals cost other than {nfe} evaluations")
            if not recipe.published and not recipe.note:
                raise ValueError(f"the recipe for {nfe} evaluations is inferred: its note must say from what")
        return self


Kind = TypeVar("Kind", bound=PublishedCard)


def folder() -> Path:
    """Where the families lie, each with the cards of its models and extractors."""
    return Path(__file__).parents[1] / "families"


@cache
def catalogue() -> dict[str, ModelCard]:
    """All cards by name, those of a file after each other."""
    made = [card for path in _files("cards") for card in read_cards(path)]
    return {card.name: card for card in made}


def read_cards(path: Path) -> list[ModelCard]:
    """The card of a file and those of its variants.

    ``variants`` holds, by what is added to the name, the keys that differ. Their recipes are inferred, and
    nothing is published of them.

    Raises:
        CheckpointError: it is not a card.
        ParamsError: it is not YAML.
    """
    values = read_yaml(path)
    variants = values.pop("variants", {})
    made = [values]
    for suffix, changes in variants.items():
        recipes = {nfe: _inferred(recipe, values["name"]) for nfe, recipe in values["recipes"].items()}
        own = {"recipes": recipes, "published": {}, **changes, "name": f"{values['name']}-{suffix}"}
        made.append({**values, **own})
    return [_validated(ModelCard, card, path) for card in made]


def _validated(kind: type[Kind], values: dict[str, Any], path: Path) -> Kind:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise CheckpointError(explain(error, kind, source=str(path))) from error


def _inferred(recipe: dict[str, Any], name: str) -> dict[str, Any]:
    return {**recipe, "published": False, "note": recipe.get("note") or f"that of {name}"}


def _files(kind: str) -> list[Path]:
    return sorted(folder().glob(f"*/{kind}/*.yaml"), key=lambda path: path.name)


@cache
def _extractors() -> dict[str, ExtractorCard]:
    return {path.stem: _validated(ExtractorCard, read_yaml(path), path) for path in _files("extractors")}


def extractor_names() -> list[str]:
    """The names of the extractors that are fetched."""
    return list(_extractors())


def evaluator_of(name: str) -> ExtractorCard:
    """The card of an evaluation network beside the feature extractor.

    Raises:
        CheckpointError: there is none, or it is an extractor.
    """
    known = {one: card for one, card in _extractors().items() if card.role in EVALUATORS}
    if name not in known:
        raise CheckpointError(f"there is no judge {name!r}; known: {', '.join(known)}.")
    return known[name]


def extractor_of(name: str) -> ExtractorCard:
    """The extractor called ``name``.

    Raises:
        CheckpointError: there is none, or its file is not a card.
    """
    known = _extractors()
    if name not in known:
        raise CheckpointError(f"there is no feature extractor {name!r}; known: {', '.join(known)}.")
    return known[name]


def card_of(name: str) -> ModelCard:
    """The card called ``name`` (CheckpointError: there is none)."""
    known = catalogue()
    if name not in known:
        close = difflib.get_close_matches(name, known, 1, 0.5)
        guess = f" Did you mean {close[0]!r}?" if close else ""
        raise CheckpointError(f"there is no model card {name!r}.{guess} 'adasde models' lists all.")
    return known[name]
