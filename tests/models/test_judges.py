"""CLIP score and FD-DINOv2: the networks as upstream runs them, and the numbers in the pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import adasde as command
from custom_models import images as archive
from custom_models import text_to_image
from golden_judges import LARGE, OUTPUTS, SMALL, images, weights
from PIL import Image
from tiny import tiny_values, write_params
from tiny_judges import CLIP, DINO, clip, use_judges, write_tokenizer

from adasde.config.params import check_params
from adasde.errors import CheckpointError, ParamsError
from adasde.evaluation.metrics import Statistics, fid, image_features
from adasde.evaluation.registry import image_metrics
from adasde.models.core.checkpoint import PROMPTS, read_card
from adasde.models.core.conditioning import drawn
from adasde.models.core.libraries import transformers
from adasde.models.core.registry import FAMILIES, converted
from adasde.models.core.tokens import Tokens
from adasde.models.families.vit import networks
from adasde.models.hub.cards import evaluator_of
from adasde.models.safe_pickle import Opened, open_checkpoint
from adasde.utils.atomic_io import sha256_file
from adasde.utils.pixels import to_float


def built(family: str, tensors: dict[str, torch.Tensor]) -> Any:
    made = converted(family, Opened(tensors, {}))
    network: Any = FAMILIES[family](None, json.loads(json.dumps(made.about)))  # type: ignore[arg-type]
    network.load_state_dict(made.tensors)
    return network.eval().requires_grad_(False)


def test_dinov2_is_upstreams_at_another_resolution_than_its_own() -> None:
    network = built("dinov2", weights(SMALL))
    with np.load(OUTPUTS) as stored:
        expected = torch.from_numpy(stored["tokens"])
    tokens = network.network(pixel_values=images()).pooler_output
    torch.testing.assert_close(tokens, expected, rtol=0, atol=1e-5)
    plain = weights(SMALL) | {"pos_embed": weights(SMALL)["pos_embed"].roll(1, 1)}
    assert (built("dinov2", plain).network(pixel_values=images()).pooler_output - expected).abs().max() > 1e-2


def test_the_published_dinov2_has_a_place_for_every_weight() -> None:
    made = converted("dinov2", Opened(weights(LARGE), {}))
    with torch.device("meta"):
        ours = FAMILIES["dinov2"](None, made.about).state_dict()  # type: ignore[arg-type]
    assert {name: value.shape for name, value in made.tensors.items()} == {
        name: value.shape for name, value in ours.items()
    }
    assert made.about["network"]["num_attention_heads"] == 16


def test_dinov2_sees_images_of_any_size_as_224_pixels() -> None:
    shown = torch.rand(2, 1, 16, 16, generator=torch.manual_seed(0)) * 2 - 1
    network = built("dinov2", weights(SMALL))
    pixels = torch.nn.functional.interpolate(
        shown.expand(-1, 3, -1, -1) / 2 + 0.5, size=(224, 224), mode="bicubic", antialias=True
    )
    mean, deviation = (torch.tensor(one)[:, None, None] for one in networks.IMAGENET)
    expected = network.network(pixel_values=(pixels - mean) / deviation).last_hidden_state[:, 0]
    torch.testing.assert_close(network.features(shown), expected, rtol=0, atol=1e-4)


def test_clip_is_transformers_with_its_own_preparation_of_images() -> None:
    theirs = clip()
    ours = built("clip", dict(theirs.state_dict()))
    values = np.random.default_rng(0).integers(0, 256, (2, 40, 60, 3), dtype=np.uint8)
    pictures = [Image.fromarray(value).resize((300, 260), Image.Resampling.BICUBIC) for value in values]
    sizes = {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}
    told = transformers().CLIPImageProcessorPil(**sizes)(pictures, return_tensors="pt")
    seen = to_float(torch.stack([torch.from_numpy(np.array(one)).movedim(2, 0) for one in pictures]))
    deviation = torch.tensor(networks.OPENAI[1])[:, None, None]
    levels = (networks.shown(networks.middle(seen), networks.OPENAI) - told["pixel_values"]) * deviation * 255
    assert levels.abs().max() < 2.01 and levels.abs().mean() < 0.25  # theirs are rounded twice
    expected = theirs.visual_projection(theirs.vision_model(**told).pooler_output)
    found = ours.features(seen)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(found, expected / expected.norm(dim=1, keepdim=True), rtol=0, atol=0.01)
    tokens = torch.tensor([[6, 0, 1, 7, 7, 7, 7, 7], [6, 1, 7, 7, 7, 7, 7, 7]])
    text = theirs.text_projection(theirs.text_model(input_ids=tokens).pooler_output)
    torch.testing.assert_close(ours.text_features(tokens), text / text.norm(dim=1, keepdim=True))


def test_prompts_are_read_as_clips_tokenizer_does(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer.json")
    tokens = Tokens(tmp_path / "tokenizer.json", length=6)
    assert tokens(["a  CAT", "", "a a a a a a a"]).tolist() == [
        [6, 0, 1, 7, 7, 7],
        [6, 7, 7, 7, 7, 7],
        [6, 0, 0, 0, 0, 7],
    ]
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"no\.json is no tokenizer .* Use the tokenizer"):
        Tokens(tmp_path / "no.json", length=6)


@pytest.mark.parametrize(
    ("family", "changes", "words"),
    [
        ("dinov2", {"register_tokens": torch.zeros(1)}, "KeyError"),
        (
            "clip",
            {"vision_model.embeddings.position_embedding.weight": torch.zeros(5, 64)},
            "224 x 224",
        ),
        ("clip", {"text_projection.weight": None}, "KeyError"),
    ],
)
def test_other_files_are_refused(family: str, changes: dict[str, Any], words: str) -> None:
    tensors = weights(SMALL) if family == "dinov2" else dict(clip().state_dict())
    tensors = {name: value for name, value in (tensors | changes).items() if value is not None}
    with pytest.raises(CheckpointError, match=f"not a checkpoint of the family '{family}'.*{words}"):
        converted(family, Opened(tensors, {}))


def test_judges_give_their_numbers_in_the_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_judges(tmp_path / "published", monkeypatch)
    values = tiny_values() | text_to_image(tmp_path) | {"judges": [CLIP, DINO]}
    values["sample"] = {"images": 20, "ranges": 2, "batch": 20, "classes": "random"}
    values["evaluate"] |= {"reference": archive(tmp_path / "real.zip", (3, 16, 16)), "floor_steps": 2}
    write_params(tmp_path, values)
    for stage in ("fetch", "reference"):
        ended = command([stage], tmp_path)
        assert ended.code == 0, ended.err
    folder = tmp_path / "data/checkpoint"
    card, document = read_card(folder), json.loads((tmp_path / "data/metrics/floor.json").read_text())
    assert card.clip is not None and card.dinov2 is not None and card.tokenizer is not None
    row, told = document["rows"]["Heun, 2 steps"], document["protocol"]
    statistics = tmp_path / "data/reference/dinov2.npz"
    assert told["judges"] == {
        "clip_score": f"clip {card.clip.sha256[:16]}; tokenizer {card.tokenizer.sha256[:16]}",
        "fd_dinov2": f"dinov2 {card.dinov2.sha256[:16]}; reference {sha256_file(statistics)[:16]}",
    }
    assert card.prompts is not None and told["class_policy"].endswith(f"prompts {card.prompts.sha256[:16]}")
    metrics = image_metrics(folder, tmp_path / "data/reference", classes="random")
    shown = open_checkpoint(tmp_path / "data/reference/floor.safetensors").tensors["images"]
    seeds = check_params(values).sample.seeds
    halves = [(shown[:20], seeds[:20]), (shown[20:], seeds[20:])]
    assert list(metrics) == ["clip_score", "fd_dinov2"]
    for name, one in metrics.items():
        assert row[name] == pytest.approx(np.mean([one(*half) for half in halves]), rel=1e-6)
    lines = (folder / PROMPTS).read_text().splitlines()
    network: Any = built("clip", dict(clip().state_dict()))
    tokens = Tokens(folder / "tokenizer.json", length=8)
    said = network.text_features(tokens([lines[drawn(seed) % len(lines)] for seed in seeds]))
    cosines = (said * network.features(to_float(shown))).sum(1)
    assert row["clip_score"] == pytest.approx(100 * cosines.clamp(min=0).mean().item(), rel=1e-4)
    assert not torch.equal(cosines.clamp(min=0), torch.zeros(40))
    eyes = built("dinov2", weights(SMALL)).features
    expected = [fid(image_features(half, eyes), Statistics.load(statistics)) for half, _ in halves]
    assert row["fd_dinov2"] == pytest.approx(np.mean(expected), rel=1e-6)


def test_what_cannot_be_judged_is_refused_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_judges(tmp_path / "published", monkeypatch)
    write_params(tmp_path, tiny_values() | {"judges": [CLIP]})
    ended = command(["fetch"], tmp_path)
    assert ended.code == 1 and "compares images with their prompts, and 'digits' has none" in ended.err
    assert not (tmp_path / "data/checkpoint").exists()
    values = tiny_values() | {"judges": [DINO]}
    Statistics.of(torch.randn(99, 32)).save(tmp_path / "given.npz")
    values["evaluate"] |= {"reference": "given.npz"}
    write_params(tmp_path, values)
    assert command(["fetch"], tmp_path).code == 0
    ended = command(["reference"], tmp_path)
    assert ended.code == 1 and "FD-DINOv2 compares with real images" in ended.err
    write_params(tmp_path, tiny_values() | {"features": DINO})
    ended = command(["fetch"], tmp_path)
    assert ended.code == 1 and "name it in params.yaml under judges" in ended.err


def test_unknown_judges_are_refused() -> None:
    with pytest.raises(ParamsError, match=r"there is no judge 'clap'; known: clip-vit-large-patch14, dinov2"):
        check_params(tiny_values() | {"judges": ["clap"]})
    with pytest.raises(ParamsError, match="there is no judge 'inception-2015-12-05'"):
        check_params(tiny_values() | {"judges": ["inception-2015-12-05"]})
    with pytest.raises(ParamsError, match="judges names one twice"):
        check_params(tiny_values() | {"judges": [DINO, DINO]})


def test_the_cards_have_hashes() -> None:
    for name in (CLIP, DINO):
        assert all(file.sha256 and file.bytes for file in evaluator_of(name).files)
