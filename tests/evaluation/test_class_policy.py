"""Which class an image has: balanced by its seed, or drawn from it; part of the protocol."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from command import adasde, explained
from tiny import STAGES, tiny_values, write_params

from adasde.evaluation.protocol import Protocol, class_policy
from adasde.models.core.conditioning import drawn, with_random_classes
from adasde.models.loading import load_model
from adasde.utils.safetensors_io import load_tensors

KNOWN = "e5cef695017f0cbfd6ec954f0faa65e10ba0dd46290e88301c8956053623b3d3"


def test_drawn_classes_depend_on_the_seed_alone_and_are_all_as_likely() -> None:
    classes = torch.tensor([drawn(seed) % 26 for seed in range(26_000)])
    counts = torch.bincount(classes, minlength=26)
    assert ((counts - 1000).abs() < 150).all() and counts.unique().numel() > 10
    assert [drawn(seed) % 26 for seed in (5, 17)] == [classes[5], classes[17]]
    assert abs(torch.corrcoef(torch.stack([classes[1:], classes[:-1]]).double())[0, 1]) < 0.02


def test_the_model_draws_the_drawn_class_and_others_stay_as_they_are() -> None:
    model, x, sigma = load_model("glyphs"), torch.randn(4, 3, 16, 16), torch.tensor(3.0)
    seeds = [100, 7, 8, 2**40]
    found = with_random_classes(model).bind(seeds)(x, sigma)
    expected = model.bind([drawn(seed) % 26 for seed in seeds])(x, sigma)
    assert torch.equal(found, expected) and not torch.equal(found, model.bind(seeds)(x, sigma))
    plain = load_model("digits")
    assert with_random_classes(plain) is plain


def test_the_policy_is_part_of_the_protocol_and_the_usual_one_has_the_old_words() -> None:
    assert class_policy(26, "balanced") == "seed modulo 26"
    assert class_policy(0, "balanced") == class_policy(0, "random") == "none"
    assert class_policy(26, "random") == "of 26, drawn from the seed"
    usual = Protocol(1000, (0, 1000), "seed modulo 26", "glyphs", "e", "r", 10, 100, 3)
    assert usual.hash == KNOWN


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes")
    values = tiny_values() | {"model": "glyphs", "baselines": {}}
    values["evaluate"]["floor_steps"] = 2
    write_params(folder, values)
    for stage in ("fetch", "reference", "teacher", "distill", "sample", "evaluate"):
        ended = adasde(STAGES[stage], folder)
        assert ended.code == 0, ended.err
    return folder


def test_the_pipeline_draws_and_judges_random_classes(balanced: Path) -> None:
    rows = balanced / "data/samples/nfe3/custom/adasde.safetensors"
    before, known = (
        load_tensors(rows)["images"],
        json.loads((balanced / "data/metrics/nfe3.json").read_text()),
    )
    values = tiny_values() | {"model": "glyphs", "baselines": {}}
    values["evaluate"]["floor_steps"] = 2
    values["sample"]["classes"] = "random"
    write_params(balanced, values)
    explained(adasde(STAGES["evaluate"], balanced), "was sampled with other classes", "stage sample again")
    for stage in ("reference", "sample", "evaluate"):
        ended = adasde(STAGES[stage], balanced)
        assert ended.code == 0, ended.err
    assert not torch.equal(load_tensors(rows)["images"], before)
    found = json.loads((balanced / "data/metrics/nfe3.json").read_text())
    assert found["protocol"]["class_policy"] == "of 26, drawn from the seed"
    assert found["protocol_hash"] != known["protocol_hash"]


def test_an_unknown_policy_is_refused(tmp_path: Path) -> None:
    values = tiny_values()
    values["sample"]["classes"] = "ballanced"
    write_params(tmp_path, values)
    explained(
        adasde(["fetch"], tmp_path), "sample.classes", "'balanced' or 'random'", "did you mean 'balanced'?"
    )
