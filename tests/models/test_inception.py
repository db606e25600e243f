"""InceptionV3: torch-fidelity's numbers from a file like the published one, fetched by its card."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from model_cards import card
from torch import nn

from adasde.errors import CheckpointError, DataError
from adasde.evaluation.features import Features, fidelity, load_features
from adasde.evaluation.metrics import image_features, inception_score
from adasde.models.core.checkpoint import read_card
from adasde.models.core.registry import CONVERTERS, Converted, Opened, converted
from adasde.models.families.inception.network import FAMILY, Inception
from adasde.models.hub import cards, fetch
from adasde.models.hub.cards import ExtractorCard, card_of, extractor_of
from adasde.utils.atomic_io import sha256_file

NAME = "inception-2015-12-05"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the published format: random weights that keep the size of what they see."""
    torch.manual_seed(0)
    network = Inception()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    state = network.state_dict()  # the published one has no counters
    torch.save({name: value for name, value in state.items() if not name.endswith("_tracked")}, path)
    return path


def extractor_card(path: Path, **changes: object) -> ExtractorCard:
    values = extractor_of(NAME).model_dump()
    file = values["files"][0] | {"url": f"file://{path}", "mirrors": ()} | changes
    return ExtractorCard.model_validate(values | {"files": [file]})


@pytest.fixture(scope="module")
def fetched(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Features:
    """The extractor of a model whose card names it, fetched, verified and converted."""
    folder = tmp_path_factory.mktemp("fetched")
    torch.save({"weight": torch.ones(2)}, folder / "model.pt")
    known = extractor_card(weights, sha256_begins=sha256_file(weights)[:8])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cards, "extractor_of", lambda name: known)
        patch.setitem(CONVERTERS, "toy", lambda opened: Converted("toy", {}, dict(opened.tensors)))
        toy = card({"url": f"file://{folder}/model.pt"}, features=NAME)
        fetch.fetch(toy, folder / "checkpoint", project=folder)
    made = read_card(folder / "checkpoint")
    assert made.features is not None and made.features.family == FAMILY
    return load_features(folder / "checkpoint")


def test_features_and_scores_are_torch_fidelity_s(weights: Path, fetched: Features) -> None:
    module = fidelity().feature_extractor_inceptionv3
    theirs = module.FeatureExtractorInceptionV3(
        "theirs", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights)
    )
    images = torch.randint(0, 256, (5, 3, 32, 32), generator=torch.manual_seed(1), dtype=torch.uint8)
    features, logits = theirs(images)
    ours = image_features(images, fetched)
    assert ours.shape == (5, 2048) and features.std() > 0.01
    torch.testing.assert_close(ours.float(), features, rtol=1e-4, atol=1e-4 * features.abs().max().item())
    assert fetched.scores is not None
    torch.testing.assert_close(
        fetched.scores(ours).float(), logits, rtol=1e-3, atol=1e-4 * logits.abs().max().item()
    )


def test_any_checkpoint_can_take_it(
    weights: Path, fetched: Features, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cards, "extractor_of", lambda name: extractor_card(weights, sha256_begins=None))
    fetch.fetch("digits", tmp_path / "made/checkpoint", features=NAME, project=tmp_path)
    taken = load_features(tmp_path / "made/checkpoint")
    assert (taken.name, taken.sha256) == ("digits", fetched.sha256)
    assert taken(torch.zeros(1, 1, 8, 8)).shape == (1, 2048)


def test_features_have_gradients_outside_the_range_and_grey_images_are_coloured(fetched: Features) -> None:
    images = (torch.rand(2, 1, 16, 16, generator=torch.manual_seed(2)) * 4 - 2).requires_grad_()
    features = fetched(images)
    torch.testing.assert_close(features, fetched(images.detach().repeat(1, 3, 1, 1)), rtol=1e-3, atol=1e-4)
    (slope,) = torch.autograd.grad(features.pow(2).mean(), images)
    assert torch.isfinite(slope).all() and (slope != 0).float().mean() > 0.9


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensors: tensors.pop("fc.bias"), "fc.bias"),
        (lambda tensors: tensors.update({"fc.bias": torch.zeros(1000)}), r"\[1000\], not \[1008\]"),
    ],
)
def test_other_weights_are_refused(change, reason: str) -> None:
    tensors = Inception().state_dict()
    change(tensors)
    with pytest.raises(CheckpointError, match=reason):
        converted(FAMILY, Opened(tensors))


def test_a_file_of_another_hash_is_refused(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published digits of the hash hold: our random weights are not that file."""
    torch.save({"weight": torch.ones(2)}, tmp_path / "model.pt")
    monkeypatch.setitem(CONVERTERS, "toy", lambda opened: Converted("toy", {}, dict(opened.tensors)))
    monkeypatch.setattr(cards, "extractor_of", lambda name: extractor_card(weights))
    toy = card({"url": f"file://{tmp_path}/model.pt"}, features=NAME)
    with pytest.raises(CheckpointError, match=rf"card '{NAME}': its sha256 is .*, expected 6726825d…"):
        fetch.fetch(toy, tmp_path / "checkpoint", project=tmp_path)
    assert not (tmp_path / "checkpoint").exists()


def test_the_cards_of_models_name_extractors_that_are_known() -> None:
    names = {card_of(name).features for name in cards.catalogue()}
    assert {extractor_of(str(name)).name for name in names - {None}} == {NAME}
    with pytest.raises(CheckpointError, match=f"no feature extractor 'vgg'; known: .*{NAME}"):
        extractor_of("vgg")


def test_the_inception_score_is_torch_fidelity_s_and_knows_its_ends() -> None:
    certain = 1000 * torch.eye(10).repeat(50, 1)
    assert inception_score(certain, splits=1) == pytest.approx(10)
    assert inception_score(torch.ones(100, 10)) == pytest.approx(1)
    logits = torch.randn(200, 12, generator=torch.manual_seed(3))
    theirs = fidelity().metric_isc.isc_features_to_metric(logits)["inception_score_mean"]
    assert inception_score(logits) == pytest.approx(theirs, rel=1e-12)
    with pytest.raises(DataError, match="Inception score needs at least 10 images; got 9"):
        inception_score(logits[:9])
