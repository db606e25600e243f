"""What the schema of ``params.yaml`` is built from, and the sections that are the same for every budget."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from adasde.errors import StoreError
from adasde.storage.resolve import checked_url

PositiveInt = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**48)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]

Metric = Literal["fid", "kid", "precision", "recall"]


class Section(BaseModel):
    """A mapping of params.yaml: unknown keys and wrong types are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PerNfe(Section):
    """A section whose values may differ between numbers of evaluations."""

    per_nfe: dict[PositiveInt, dict[str, Any]] = {}

    def for_nfe(self, nfe: int) -> Self:
        """The section with the overrides for ``nfe`` applied and none left."""
        values = self.model_dump(exclude={"per_nfe"}) | self.per_nfe.get(nfe, {})
        return type(self).model_validate(values)

    @model_validator(mode="after")
    def _check_overrides(self) -> Self:
        for nfe in self.per_nfe:
            try:
                self.for_nfe(nfe)
            except ValidationError as error:
                details: Any = [
                    {**item, "loc": ("per_nfe", nfe, *item["loc"])}
                    for item in error.errors(include_url=False)
                ]
                raise ValidationError.from_exception_data("per_nfe", details) from error
        return self


class SampleParams(Section):
    """Which images are made: ``ranges`` disjoint ranges of ``images`` consecutive seeds."""

    images: Annotated[int, Field(ge=2)] = 1000
    ranges: PositiveInt = 3
    first_seed: Seed = 1_000_000
    batch: PositiveInt = 1000
    classes: Literal["balanced", "random"] = "balanced"

    @property
    def count(self) -> int:
        """Number of all images of a row."""
        return self.images * self.ranges

    @property
    def seeds(self) -> range:
        """The seeds of all images, range after range."""
        return range(self.first_seed, self.first_seed + self.count)


class EvaluateParams(Section):
    """How images are judged."""

    kid_subsets: PositiveInt = 10
    kid_subset_size: Annotated[int, Field(ge=2)] = 500
    neighbourhood: PositiveInt = 3
    floor_steps: PositiveInt = 50
    reference: Annotated[str, Field(min_length=1)] | None = None


def _address(url: str | None) -> str | None:
    try:
        return None if url is None else checked_url(url)
    except StoreError as error:
        raise ValueError(str(error).rstrip(".")) from error


class StorageParams(Section):
    """Where bytes are kept that machines share (see ``adasde.storage``); None: the project's own folders."""

    url: Annotated[str | None, AfterValidator(_address)] = None


class NetworkParams(Section):
    """How the frozen network runs in every stage (see ``adasde.models.precision``)."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    compiled: bool = False


class PromotionParams(Section):
    """When a candidate becomes champion (see ``flows.registry.policy``)."""

    metric: Metric = "fid"
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.02
    spread: Weight = 1.0
    tolerance: dict[Metric, Weight] = {"kid": 0.5, "precision": 0.05, "recall": 0.05}
