"""Reference data of the evaluation: the user's images or statistics, or those of the model."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from adasde.config.params import Params
from adasde.errors import CheckpointError, DataError
from adasde.evaluation.features import extractor_of
from adasde.evaluation.image_folder import ImageFiles
from adasde.evaluation.metrics import Statistics, image_features
from adasde.evaluation.statistics import BATCH, image_shape
from adasde.models.core.checkpoint import find, read_card
from adasde.models.families.toy.data import SOURCES, real_images
from adasde.models.hub.cards import ModelCard, catalogue
from adasde.models.hub.fetch import reference_file
from adasde.storage import local_copy
from adasde.storage.resolve import local_path, scheme
from adasde.types import Model
from adasde.utils.progress import track

ReferenceData = tuple[Tensor | None, Statistics]
"""Real images uint8 [n, C, H, W] (None if only statistics are known), and their statistics."""


def real_or_moments(params: Params, model: Model, *, checkpoint: Path, beside: Path) -> ReferenceData:
    """``evaluate.reference``, or the reference of the model; copies are kept beside the folder of ``beside``.

    Raises:
        CheckpointError: the model has no reference and none is given.
        StoreError: its address cannot be reached.
        DataError: it does not fit this model.
    """
    given = params.evaluate.reference
    card = catalogue().get(model.name)
    if given is not None:
        return _read_reference(given, checkpoint)
    if model.name in SOURCES:
        return _of_images(real_images(model.name), checkpoint)
    if card is not None and card.reference is not None:
        return None, _of_card(card, checkpoint, beside=beside)
    raise CheckpointError(
        f"no real images come with the model {model.name!r}; the bundled ones are: {', '.join(SOURCES)}. "
        "Name yours in params.yaml, evaluate.reference: a folder or zip archive of images, or an .npz."
    )


def _read_reference(spec: str, checkpoint: Path) -> ReferenceData:
    with TemporaryDirectory() as tmpdir:
        local = scheme(spec) in (None, "file")
        path = Path(local_path(spec)) if local else local_copy(spec, tmpdir)
        if path.suffix == ".npz":
            return None, _fitting(path, checkpoint)
        return _of_images(_read(ImageFiles(path, shape=image_shape(checkpoint))), checkpoint)


def _read(files: ImageFiles) -> Tensor:
    with track(len(files.names), "reference", "images") as advance:
        parts = []
        for start in range(0, len(files.names), BATCH):
            parts.append(files.read(files.names[start : start + BATCH]))
            advance(len(parts[-1]))
    return torch.cat(parts)


def _of_images(real: Tensor, checkpoint: Path) -> ReferenceData:
    return real, Statistics.of(image_features(real, extractor_of(checkpoint)))


def _of_card(card: ModelCard, checkpoint: Path, *, beside: Path) -> Statistics:
    """The statistics by the model's publisher; their hash is recorded on first use."""
    return _fitting(reference_file(card, beside.parent.parent, project=Path()), checkpoint)


def _fitting(path: Path, checkpoint: Path) -> Statistics:
    """Statistics of the checkpoint's extractor; DataError if they are of another one."""
    moments = Statistics.load(path)
    blank = torch.zeros(1, *image_shape(checkpoint), dtype=torch.uint8)
    units = image_features(blank, extractor_of(checkpoint)).shape[1]
    if len(moments.mu) != units:
        name = read_card(find(checkpoint)).name
        raise DataError(
            f"the reference statistics {path} are of {len(moments.mu)} features, the extractor of {name!r} "
            f"has {units}: they are of another extractor. Make them with 'adasde reference --data'."
        )
    return moments
