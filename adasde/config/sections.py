"""The sections of ``params.yaml`` that are the same for every budget."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from adasde.config.metrics import MetricName
from adasde.errors import StoreError
from adasde.storage.resolve import checked_url
from adasde.utils.yaml_schema import PositiveInt, Section, Seed, Weight


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

    metric: MetricName = "fid"
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.02
    spread: Weight = 1.0
    tolerance: dict[MetricName, Weight] = Field(default={"kid": 0.5, "precision": 0.05, "recall": 0.05})
