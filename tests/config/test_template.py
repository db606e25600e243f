"""``adasde init`` writes params that hold; ``adasde estimate`` counts what a run spends."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import golden_ldm
import golden_openai
import numpy as np
import pytest
import small_ldm
import torch
import yaml
from command import ROOT, adasde, explained
from model_cards import PUBLISHED
from small_openai import small
from tiny import tiny_values, write_params

from adasde.config.cost import estimate, per_image, random_model, work
from adasde.config.params import check_params, load_params
from adasde.config.template import OVERRIDES, SECTIONS, reference_of_keys, template
from adasde.distillation.recipes import RECIPES
from adasde.errors import ParamsError
from adasde.models import describe
from adasde.models.core.checkpoint import Card, Component, cards
from adasde.models.core.registry import Converted
from adasde.models.hub.cards import card_of, catalogue
from adasde.models.loading import load_model
from adasde.types import Model
from adasde.utils.yaml_schema import parse_yaml


@pytest.mark.parametrize("name", [*catalogue(), *cards()])
def test_every_model_gets_params_that_hold_with_all_that_dvc_names(name: str) -> None:
    text = template(name, [3, 5, 7, 9])
    values = parse_yaml(text, source="x")
    params = check_params(values)
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for key in {key for stage in stages.values() for key in stage.get("params", [])}:
        found = values
        for part in key.split("."):
            found = found[part]
    if name not in cards():
        for nfe, recipe in card_of(name).recipes.items():
            budget = params.at(nfe)
            made = budget.settings
            assert (budget.params.teacher.inserted, made.lr, made.batch) == (
                recipe.inserted,
                recipe.lr,
                recipe.batch,
            )
            assert made.feature_weight == recipe.alpha and budget.steps == recipe.intervals
            assert f"NFE {nfe}: {'published' if recipe.published else 'inferred'}" in text


@pytest.mark.parametrize(("name", "nfe"), PUBLISHED)
def test_the_paper_s_recipe_has_the_published_numbers(name: str, nfe: int) -> None:
    params, card = check_params(parse_yaml(template(name, [3, 5, 7, 9]), source="x")), card_of(name)
    budget = params.at(nfe)
    teacher, made, text = budget.params.teacher, budget.settings, card.prompts is not None
    expected = PUBLISHED[name, nfe]
    found = (teacher.inserted, made.gamma_max, made.feature_weight, made.scale_dir, made.scale_time)
    assert (*found, made.lr, made.batch) == expected
    assert (teacher.solver, teacher.substeps) == ("dpm2", 2)
    assert made.trajectories == teacher.trajectories == (5000 if text else 10_000)
    assert made.lr_final == 0.01  # the end of the cosine, or a constant rate
    assert (made.solver, made.points, made.loop, made.learn_grid) == ("adasde", 1, "node-by-node", False)
    assert (made.gamma_min, made.inner_weight, made.pixel_weight, made.max_gradient) == (2e-4, 1, 0, 0)
    assert budget.params.schedule.name == ("discrete" if text else "time_uniform")
    assert budget.params.schedule.rho == 1 and budget.params.afs
    assert [float(budget.sigmas[end]) for end in (0, -1)] == [card.sigma_max, card.sigma_min]
    sample = params.sample
    assert (sample.images, sample.ranges) == (30_000 if text else 50_000, 1)
    assert sample.classes == ("balanced" if text else "random") and params.promotion.spread == 0


@pytest.mark.parametrize("recipe", ["paper", "single-step", "multistep", "dyweight", "ld3"])
@pytest.mark.parametrize("name", [*catalogue(), *cards()])
def test_every_recipe_fits_every_model(name: str, recipe: str) -> None:
    params = check_params(parse_yaml(template(name, [3, 5], recipe=recipe), source="x"))
    if name in catalogue():
        card = card_of(name)
        assert (params.schedule.sigma_min, params.schedule.sigma_max) == (card.sigma_min, card.sigma_max)
        rows = check_params({"model": name, "nfe": [3], "baselines": "paper"}).baselines
        assert (params.baselines == rows) is (card.image is None)
    for nfe in (3, 5):
        for section, values in RECIPES[recipe].at(nfe).items():
            made = getattr(params.at(nfe).params, section).model_dump()
            changed = OVERRIDES.get(name, {}).get(section, {}) if recipe == "multistep" else {}
            if name in catalogue() and recipe == "paper":  # its numbers are the card's, above
                continue
            assert made | values | changed == made


def test_an_unknown_recipe_is_named() -> None:
    with pytest.raises(ParamsError, match=r"unknown recipe 'papers'.*Did you mean 'paper'"):
        template("cifar10", [5], recipe="papers")
    with pytest.raises(ParamsError, match="unknown recipe 'custom'"):
        template("cifar10", [5], recipe="custom")
    with pytest.raises(ParamsError, match=r"no recipe 'gs': .*weigh earlier states"):
        template("cifar10", [5], recipe="gs")


def test_two_parallel_points_fit_every_third_budget() -> None:
    params = check_params(parse_yaml(template("digits", [5, 8], recipe="epd"), source="x"))
    assert params.at(8).settings.points == 2
    with pytest.raises(ParamsError, match=r"nfe=3 is impossible; the nearest are 2 and 5"):
        template("digits", [3], recipe="epd")


def test_a_packaged_model_begins_with_what_measured_best_on_it() -> None:
    ours, digits, glyphs = (
        check_params(parse_yaml(text, source="x"))
        for text in ((ROOT / "params.yaml").read_text(), *(template(name, [3]) for name in cards()))
    )
    assert [digits.model, glyphs.model] == ["digits", "glyphs"]
    mine, own, other = (one.at(3, "multistep").params for one in (ours, digits, glyphs))
    assert (own.teacher, own.distill) == (mine.teacher, mine.distill)
    assert other.distill.pixel_weight < mine.distill.pixel_weight


def test_the_page_on_recipes_has_every_key() -> None:
    table = reference_of_keys()
    for section, model in SECTIONS.items():
        for key, field in model.model_fields.items():
            assert key == "per_nfe" or (f"| `{section}.{key}` |" in table and field.description)
    assert (ROOT / "docs/params.md").read_text().endswith(table)


def test_the_command_says_what_comes_and_overwrites_nothing(tmp_path: Path) -> None:
    ended = adasde(["init", "--model", "cifar10", "--nfe", "5,3"], tmp_path)
    assert ended.code == 0, ended.err
    for words in (
        "edm-cifar10-32x32-uncond-vp.pkl",
        "CC BY-NC-SA",
        "55,733,923",
        "next      adasde estimate",
        "on this CPU; the files of all stages take",
    ):
        assert words in ended.out
    assert load_params(tmp_path / "params.yaml").nfe == [5, 3]
    other = ["init", "--model", "digits", "--nfe", "5", "--recipe", "single-step", "--out", "other.yaml"]
    assert adasde(other, tmp_path).code == 0
    assert load_params(tmp_path / "other.yaml").at(5).settings.learn_grid
    again = ["init", "--model", "digits", "--json"]
    explained(adasde(again, tmp_path), "params.yaml is there already", "--force")
    ended = adasde([*again, "--force"], tmp_path)
    assert ended.code == 0 and json.loads(ended.out)["model"] == "digits"
    assert load_params(tmp_path / "params.yaml").model == "digits"
    assert adasde(["init", "--model", "digits", "--nfe", "x"], tmp_path).code == 2
    with pytest.raises(ParamsError, match="no recipe for nfe 11; it has some for 3, 5, 7, 9"):
        template("cifar10", [11])


def test_predicted_evaluations_are_those_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from adasde.models.core.preconditioning import Preconditioned
    from adasde.stages.distill import distill
    from adasde.stages.fetch import fetch
    from adasde.stages.reference import reference
    from adasde.stages.sample import sample
    from adasde.stages.teacher import teacher

    params = load_params(write_params(tmp_path, tiny_values()))
    counted: Counter[str] = Counter()
    current = ""
    original = Preconditioned.forward

    def watched(self: Any, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        counted[current] += len(x)
        return original(self, x, *rest)

    monkeypatch.setattr(Preconditioned, "forward", watched)
    checkpoint = tmp_path / "checkpoint"
    fetch(params, out=checkpoint)
    current = "reference"
    reference(params, checkpoint, out=tmp_path / "reference", metrics=tmp_path / "floor.json")
    current = "teacher@custom-3"
    teacher(params, 3, checkpoint=checkpoint, out=tmp_path / "teacher")
    current = "distill@custom-3"
    distill(params, 3, checkpoint=checkpoint, teacher=tmp_path / "teacher", out=tmp_path / "learned")
    current = "sample@custom-3"
    table = tmp_path / "learned/coefficients.json"
    sample(params, 3, checkpoint=checkpoint, coefficients=table, out=tmp_path / "samples")
    current = "baselines@3"
    sample(params, 3, checkpoint=checkpoint, coefficients=None, out=tmp_path / "others")
    current = "measured"
    found = estimate(params, checkpoint=checkpoint, budget=0.05)
    assert {row["stage"]: row["evaluations"] for row in found["stages"]} == {
        stage: counted[stage]
        for stage in ("reference", "baselines@3", "teacher@custom-3", "distill@custom-3", "sample@custom-3")
    }
    assert found["hours"] > 0 and found["network"] == "its own weights"
    sizes = {row["stage"]: row["bytes"] for row in found["stages"]}
    shards = sum(path.stat().st_size for path in (tmp_path / "teacher").glob("*.safetensors"))
    assert sizes["teacher@custom-3"] == pytest.approx(shards, rel=0.1)


def test_the_command_estimates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_params(tmp_path, tiny_values())
    ended = adasde(["estimate", "--json"], tmp_path)
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    expected = sum(one.evaluations + one.learning for one in work(check_params(tiny_values()), (1, 8, 8)))
    assert found["evaluations"] == expected and load_model("digits").name == found["model"]
    unknown = card_of("cifar10").model_copy(update={"network": None})
    monkeypatch.setattr(describe, "card_of", lambda name: unknown)
    write_params(tmp_path, tiny_values() | {"model": "cifar10"})
    explained(adasde(["estimate"], tmp_path), "does not say how its network is built", "adasde fetch")


def test_images_of_latents_are_larger_than_what_is_sampled() -> None:
    params = check_params(tiny_values() | {"model": "ms_coco"})
    latents, images = (
        {one.stage: one.bytes for one in work(params, (4, 64, 64), image)} for image in (None, (3, 512, 512))
    )
    assert (
        images["sample@custom-3"] == 48 * latents["sample@custom-3"]
        and images["teacher@custom-3"] == latents["teacher@custom-3"]
    )


def part(made: Converted) -> Component:
    return Component("", "", 0, made.family, made.about)


def random(shape: tuple[int, ...], model: Converted, **parts: Converted) -> Model:
    """What is measured before the weights are here."""
    others = {role: part(made) for role, made in parts.items()}
    return random_model(Card("x", "", "", shape, 0.01, 99.0, part(model), **others))


def test_guided_and_prompted_networks_are_measured_at_their_cost() -> None:
    with np.load(golden_openai.OUTPUTS) as stored:
        adm, guide = (small(case, dict(stored)) for case in ("adm", "classifier"))
    with np.load(golden_ldm.OUTPUTS) as stored:
        stable = small_ldm.small(dict(stored))
    models = [random((3, 16, 16), adm, classifier=guide), random((4, 8, 8), stable)]
    for model, cost in zip(models, (1, 2), strict=True):
        denoise: Any = model.bind(range(2), 2.0)
        x = torch.randn(2, *model.shape)
        assert denoise(x, torch.tensor(1.0)).shape == x.shape and denoise.cost == cost


def test_a_measurement_stops_at_the_limit_and_at_the_budget() -> None:
    seen: list[int] = []
    per_image(seen.append, limit=12, budget=60)
    assert seen == [1, 1, 2, 4, 8, 12]
    import time

    started = time.perf_counter()
    seconds = per_image(lambda count: time.sleep(0.02 * count), limit=10**9, budget=0.3)
    assert seconds == pytest.approx(0.02, rel=0.5)
    assert time.perf_counter() - started < 1
