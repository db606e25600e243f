"""Metrics: exact on known cases, equal to torch-fidelity's own pipeline, clear errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from adasde.config.metrics import METRIC_INFO
from adasde.errors import DataError
from adasde.evaluation.features import fidelity, load_features
from adasde.evaluation.metrics import (
    Statistics,
    fid,
    image_features,
    kid,
    precision_recall,
)
from adasde.evaluation.protocol import Protocol
from adasde.evaluation.registry import METRICS, MetricInputs, measure
from adasde.models.families.toy.data import real_images
from adasde.models.loading import load_model
from adasde.utils.pixels import to_uint8

PROTOCOL = Protocol(
    images=1000,
    first_seeds=(0, 1000),
    class_policy="unconditional",
    extractor="digits",
    extractor_sha256="e",
    reference_sha256="r",
    kid_subsets=10,
    kid_subset_size=100,
    neighbourhood=3,
)


@pytest.fixture(scope="module")
def real() -> Tensor:
    """Features of the real digits, [1797, F]."""
    return image_features(real_images("digits"), load_features("digits"))


def normal(count: int, units: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(count, units, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def evaluate(generated: Tensor, known: Tensor, **settings: int) -> dict[str, float]:
    return measure(MetricInputs(generated, Statistics.of(known), known, **settings))


def test_to_uint8_rounds_and_clips() -> None:
    values = torch.tensor([-3.0, -1.0, -1 + 1 / 255.1, 0.0, 1.0, 7.0])
    assert to_uint8(values).tolist() == [0, 0, 0, 128, 255, 255]


def test_fid_of_gaussians_is_the_closed_form() -> None:
    left = Statistics(np.zeros(3), np.diag([1.0, 4.0, 9.0]))
    right = Statistics(np.array([1.0, 0.0, 2.0]), np.diag([4.0, 4.0, 1.0]))
    assert fid(left, right) == pytest.approx(5 + 1 + 0 + 4, abs=1e-9)
    assert fid(left, left) == pytest.approx(0, abs=1e-9)


def test_fid_of_features_is_that_of_their_moments() -> None:
    left, right = normal(300), 2 * normal(200, seed=1) + 1
    assert fid(left, right) == fid(Statistics.of(left), Statistics.of(right)) > 1


def test_all_metrics_agree_with_torch_fidelity_run_by_itself(real: Tensor) -> None:
    class Images(Dataset):
        def __init__(self, images: Tensor) -> None:
            self.images = images

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, index: int) -> Tensor:
            return self.images[index]

    images = real_images("digits")
    theirs = fidelity().calculate_metrics(
        input1=Images(images[:400]),
        input2=Images(images[400:1000]),
        feature_extractor="digits",
        fid=True,
        kid=True,
        prc=True,
        kid_subsets=5,
        kid_subset_size=200,
        prc_neighborhood=4,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    ours = evaluate(real[:400], real[400:1000], kid_subsets=5, kid_subset_size=200, neighbourhood=4)
    names = {
        "fid": "frechet_inception_distance",
        "kid": "kernel_inception_distance_mean",
        "precision": "precision",
        "recall": "recall",
    }
    assert ours == pytest.approx({name: theirs[key] for name, key in names.items()}, rel=1e-6)


def test_metrics_tell_good_from_bad(real: Tensor) -> None:
    extractor, images = load_features("digits"), real_images("digits")
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:500]
    noisy = images[chosen].float() + 60 * torch.randn(
        500, 1, 8, 8, generator=torch.Generator().manual_seed(1)
    )
    bad = image_features(noisy.clamp(0, 255).to(torch.uint8), extractor)
    settings = {"kid_subsets": 5, "kid_subset_size": 200}
    good_row, bad_row = (evaluate(one, real, **settings) for one in (real[chosen], bad))
    assert good_row["fid"] < 0.3 * bad_row["fid"] and good_row["kid"] < bad_row["kid"]
    assert good_row["precision"] > bad_row["precision"]
    assert evaluate(real[chosen], real, **settings) == good_row  # KID's subsets are seeded


def test_precision_is_about_generated_and_recall_about_real_images() -> None:
    wide, narrow = normal(300), 0.1 * normal(300, seed=1)
    precision, recall = precision_recall(narrow, wide)
    assert precision > 0.95 and recall < 0.2
    assert precision_recall(wide, narrow) == (recall, precision)


def test_features_do_not_depend_on_the_batch() -> None:
    images, extractor = real_images("digits")[:30], load_features("digits")
    parts, whole = image_features(images, extractor, batch=7), image_features(images, extractor)
    assert torch.allclose(parts, whole, atol=1e-5)


@pytest.mark.parametrize("measure", [fid, kid, precision_recall])
def test_sets_that_cannot_be_measured_are_refused(measure: Callable[[Tensor, Tensor], object]) -> None:
    with pytest.raises(DataError, match=r"needs at least [0-9]+ images; got 0"):
        measure(normal(0), normal(2000))
    with pytest.raises(DataError, match=r"needs at least [0-9]+ images; got 1"):
        measure(normal(2000), normal(1))
    broken = normal(1200)
    broken[3, 1], broken[5] = torch.nan, torch.inf
    with pytest.raises(DataError, match="features of 2 of 1200 images are not finite"):
        measure(broken, normal(1200))
    with pytest.raises(DataError, match=r"compares 4 with 5 feature units.*another feature extractor"):
        measure(normal(1200), normal(1200, units=5))
    with pytest.raises(DataError, match=r"takes features \[images, units\]; got the shape \[2, 1, 8, 8\]"):
        measure(torch.zeros(2, 1, 8, 8), normal(1200))


def test_images_that_cannot_be_measured_are_refused() -> None:
    extractor = load_features("digits")
    with pytest.raises(DataError, match=r"uint8 images \[n, C, H, W\] \(see to_uint8\); got torch.float32"):
        image_features(torch.zeros(2, 1, 8, 8), extractor)
    with pytest.raises(DataError, match="the set of images is empty"):
        image_features(torch.zeros(0, 1, 8, 8, dtype=torch.uint8), extractor)


def test_statistics_are_edms_file_with_the_same_bytes_every_time(tmp_path: Path, real: Tensor) -> None:
    statistics = Statistics.of(real)
    hashes = {statistics.save(tmp_path / f"{name}.npz") for name in ("a", "b")}
    assert len(hashes) == 1
    with np.load(tmp_path / "a.npz") as arrays:
        assert set(arrays) == {"mu", "sigma"} and arrays["mu"].dtype == arrays["sigma"].dtype == np.float64
    loaded = Statistics.load(tmp_path / "a.npz", sha256=hashes.pop())
    assert np.array_equal(loaded.mu, statistics.mu) and np.array_equal(loaded.sigma, statistics.sigma)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.npz", "b.npz"]


def save(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def test_statistics_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    remedy = r"adasde reference"
    with pytest.raises(DataError, match=rf"none\.npz cannot be used: there is no such file.*{remedy}"):
        Statistics.load(tmp_path / "none.npz")
    good = save(tmp_path / "good.npz", mu=np.zeros(2), sigma=np.eye(2))
    with pytest.raises(DataError, match=rf"good\.npz .*its sha256 is .*, expected 000.*{remedy}"):
        Statistics.load(good, sha256="0" * 64)
    (tmp_path / "short.npz").write_bytes(good.read_bytes()[:200])
    with pytest.raises(DataError, match=rf"short\.npz cannot be used.*{remedy}"):
        Statistics.load(tmp_path / "short.npz")
    with pytest.raises(DataError, match="mu has the shape"):
        Statistics.load(save(tmp_path / "shape.npz", mu=np.zeros(3), sigma=np.eye(2)))
    with pytest.raises(DataError, match="not finite"):
        Statistics.load(save(tmp_path / "nan.npz", mu=np.full(2, np.nan), sigma=np.eye(2)))
    with pytest.raises(DataError, match="sigma"):
        Statistics.load(save(tmp_path / "half.npz", mu=np.zeros(3)))
    with pytest.raises(DataError, match="cannot be used"):  # a pickle inside is not opened
        Statistics.load(save(tmp_path / "pickle.npz", mu=np.array([{}], dtype=object), sigma=np.eye(2)))


def test_the_protocol_hash_depends_on_every_field() -> None:
    others = [
        replace(PROTOCOL, **{name: value})
        for name, value in {
            "images": 1001,
            "first_seeds": (0, 1001),
            "class_policy": "uniform",
            "extractor": "other",
            "extractor_sha256": "x",
            "reference_sha256": "x",
            "kid_subsets": 11,
            "kid_subset_size": 101,
            "neighbourhood": 4,
        }.items()
    ]
    assert replace(PROTOCOL).hash == PROTOCOL.hash
    assert len({protocol.hash for protocol in [PROTOCOL, *others]}) == len(others) + 1


@pytest.mark.parametrize(
    ("name", "highest_fid", "precision", "recall"), [("digits", 0.5, 0.7, 0.7), ("glyphs", 2.0, 0.1, 0.9)]
)
def test_heun_samples_of_the_packaged_model_are_close_to_the_real_images(
    name: str, highest_fid: float, precision: float, recall: float
) -> None:
    """The letters' classifier draws its classes so far apart that few samples lie among the real ones."""
    model, extractor = load_model(name), load_features(name)
    denoise = model.bind(range(1000))
    x = 80.0 * torch.randn(1000, *model.shape, generator=torch.Generator().manual_seed(0))
    nodes = (torch.linspace(80 ** (1 / 7), 0.002 ** (1 / 7), 19) ** 7).tolist()
    for now, then in pairwise(nodes):
        slope = (x - denoise(x, torch.tensor(now))) / now
        ahead = x + (then - now) * slope
        x = x + (then - now) * (slope + (ahead - denoise(ahead, torch.tensor(then))) / then) / 2
    samples, reference = (image_features(one, extractor) for one in (to_uint8(x), real_images(name)))
    assert fid(samples, reference) < highest_fid
    found = precision_recall(samples, reference)
    assert found[0] > precision and found[1] > recall


def test_every_metric_has_a_direction_and_is_measured_once_its_needs_are_met() -> None:
    assert [metric.name for metric in METRICS] == list(METRIC_INFO)
    assert {m.name for m in METRICS if m.higher_is_better} == {
        "precision", "recall", "inception_score", "clip_score",
    }  # fmt: skip
    known, few = normal(50), {"kid_subsets": 2, "kid_subset_size": 20}
    alone = MetricInputs(normal(40, seed=1), Statistics.of(known), **few)
    assert list(measure(alone)) == ["fid"]
    assert list(measure(replace(alone, real=known))) == ["fid", "kid", "precision", "recall"]
    assert list(measure(replace(alone, logits=normal(40)))) == ["fid", "inception_score"]
    drawn = replace(alone, images=torch.zeros(40), seeds=range(40), clip_score=lambda _, seeds: len(seeds))
    assert measure(drawn)["clip_score"] == 40.0
