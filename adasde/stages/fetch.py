"""The checkpoint of the model."""

from __future__ import annotations

from pathlib import Path

from adasde.config.params import Params
from adasde.models.hub import fetch as fetching
from adasde.types import Summary


def fetch(params: Params, *, out: Path) -> Summary:
    """Copy the verified checkpoint of ``params.model`` into ``out``, with ``features``, ``prompts`` and
    ``judges``.

    The files of a model card are downloaded; a pipeline or a function is linked.

    Raises:
        CheckpointError: there is no such model, extractor or file of prompts, or a file is damaged or has
            changed.
        StoreError: they cannot be fetched.
        DataError: ``out`` cannot be written.
    """
    fetching.fetch(
        params.model,
        out,
        features=params.features,
        prompts=params.prompts,
        judges=params.judges,
        name=params.model_name,
    )
    return {"out": str(out), "model": params.model}
