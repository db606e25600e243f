"""The classifiers as feature extractors: normalised, smooth, alive outside [-1, 1], accurate."""

from __future__ import annotations

import pytest
import torch

from adasde.evaluation.features import fidelity, load_features
from adasde.models.core.checkpoint import cards, find, read_card, read_weights
from adasde.models.families.toy.data import digits, real_images
from adasde.models.families.toy.recipes import DIGITS
from adasde.models.loading import build
from adasde.utils.pixels import to_float

NAMES = sorted(cards())


@pytest.mark.parametrize("name", NAMES)
def test_every_unit_weighs_the_same_on_the_real_images(name: str) -> None:
    extractor = load_features(name)
    features = extractor(to_float(real_images(name))).double()
    assert extractor.name == name and len(extractor.sha256) == 64
    assert features.mean(0).abs().max() < 0.02
    assert (features.std(0) - 1).abs().max() < 0.02


@pytest.mark.parametrize("name", NAMES)
def test_gradients_agree_with_differences_inside_and_outside_the_range(name: str) -> None:
    extractor = load_features(name)
    images = to_float(real_images(name)[:3])
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    for offset in (0.0, 2.0):  # the second lies wholly outside [-1, 1]
        start = (images + offset).requires_grad_()
        (slope,) = torch.autograd.grad(extractor(start).pow(2).sum(), start)
        ahead, behind = (extractor(start.detach() + step * direction).pow(2).sum() for step in (1e-2, -1e-2))
        assert torch.isclose((slope * direction).sum(), (ahead - behind) / 2e-2, rtol=2e-2)
        assert slope.flatten(1).abs().amax(1).min() > 1e-3


def test_the_classifier_recognises_held_out_digits() -> None:
    folder = find("digits")
    card = read_card(folder)
    classifier = build(card, card.features, read_weights(folder, card.features))
    images, labels = digits()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(card.features.about["seed"]))
    held = order[: DIGITS.classifier.held_out]
    accuracy = (classifier(images[held]).argmax(1) == labels[held]).float().mean().item()
    assert accuracy >= 0.97
    assert accuracy == pytest.approx(card.features.about["held_out_accuracy"], abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_torch_fidelity_knows_the_extractor_and_keys_its_cache_by_the_weights(name: str) -> None:
    assert fidelity() is fidelity()
    extractor = fidelity().utils.create_feature_extractor(name, ["features"], cuda=False, verbose=False)
    assert extractor.get_name() == f"{name}-{load_features(name).sha256[:16]}"
    images = real_images(name)[:4]
    assert extractor.get_dummy_input_for_compile().shape == images[:1].shape
    (features,) = extractor(images)
    assert features.dtype == torch.float64
    assert torch.equal(features, load_features(name)(to_float(images)).double())


def test_to_float_spans_minus_one_to_one() -> None:
    assert to_float(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]
