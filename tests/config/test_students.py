"""Students of params.yaml: how their values are found, what is refused, and what ``plan`` writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import adasde, explained
from tables import random_table
from tiny import STAGES, tiny_values, write_params

from adasde.config.params import Params, check_params
from adasde.config.students import facts_of, label_of
from adasde.distillation.recipes import RECIPES
from adasde.errors import ParamsError
from adasde.sampling.coefficients import MULTISTEP, OWN
from adasde.stages.plan import plan
from adasde.stages.teacher import alone_on


def of(**changes: Any) -> Params:
    """Params with the shared keys alone, and ``changes``."""
    values: dict[str, Any] = {"model": "digits", "nfe": [3, 5], "sample": {"validation": 500}}
    return check_params(values | changes)


MINE = {
    "recipe": "multistep",
    "distill": {"lr": 0.02, "per_nfe": {5: {"batch": 7}}},
    "per_nfe": {3: {"distill": {"batch": 64}, "schedule": {"rho": 2.0}}},
}


def test_later_layers_override_earlier_ones() -> None:
    params = of(students=["mine", "paper"], recipes={"mine": MINE}, distill={"history": 2})
    three, five = (params.at(nfe, "mine").params for nfe in (3, 5))
    packaged = RECIPES["multistep"].at(3)
    assert three.teacher.trajectories == packaged["teacher"]["trajectories"] != 10_000
    assert (three.distill.lr, five.distill.lr) == (0.02, 0.02)
    assert (three.distill.batch, five.distill.batch) == (64, 7)
    assert (three.schedule.rho, five.schedule.rho) == (2.0, packaged["schedule"]["rho"])
    assert [params.at(3, name).settings.history for name in params.students] == [2, 2]
    assert params.at(3, "paper").settings.feature_weight == 20
    assert (params.at(3, "mine").recipe, params.at(3, "paper").recipe) == ("multistep", "paper")
    shared = of(students=["paper"], distill={"lr": 0.3, "per_nfe": {5: {"lr": 0.4}}})
    assert [shared.at(nfe).settings.lr for nfe in (3, 5)] == [0.3, 0.4]


def test_a_packaged_recipe_can_be_changed_under_its_name() -> None:
    params = of(students=["paper"], recipes={"paper": {"recipe": "paper", "distill": {"gamma_max": 0.0}}})
    assert params.at(5).settings.gamma_max == 0 and params.at(5).recipe == "paper"


def test_without_students_the_sections_count() -> None:
    params = check_params(tiny_values())
    assert params.students == ["custom"] and params.at(3) == params.at(3, "custom")
    assert params.at(3).settings.batch == 16


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"students": ["papers"]}, "unknown recipe 'papers'.*Did you mean 'paper'"),
        ({"students": ["paper", "paper"]}, "students names one twice"),
        ({"students": ["paper"], "recipes": {"paper": {"recipe": "multistep"}}}, "name of a packaged recipe"),
        ({"students": ["mine"], "recipes": {"mine": {"recipe": "papr"}}}, "unknown recipe 'papr'"),
        ({"students": ["paper", "multistep"], "sample": {}}, "need sample.validation"),
        ({"students": ["paper"], "nfe": [4]}, "student paper: .*nfe=4 is impossible"),
        ({"students": ["custom", "multistep"], "distill": {"solver": MULTISTEP}}, "would be called"),
        ({"students": ["baselines"]}, "folder of the baselines"),
        ({"students": ["Big Name"]}, "students"),
        ({"recipes": {"mine": {"recipe": "paper", "distill": {"lrr": 1}}}}, "unknown key .*lrr"),
        ({"recipes": {"mine": {"recipe": "paper", "schedule": {"sigma_max": 9.0}}}}, "hold for all students"),
        ({"students": ["paper"], "distill": {"energy_weight": 1.0}}, "student paper at 3 .*node-by-node"),
        ({"students": ["paper"], "sample": {"first_seed": 5}}, "overlap the teacher"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ParamsError, match=f"(?s){words}"):
        of(**changes)


def test_several_students_have_to_be_named(tmp_path: Path) -> None:
    params = of(students=["paper", "multistep"])
    with pytest.raises(ParamsError, match=r"several students .*--student"):
        params.at(3)
    with pytest.raises(ParamsError, match=r"unknown student 'papr'.*Did you mean 'paper'"):
        params.at(3, "papr")
    write_params(
        tmp_path,
        {"model": "digits", "nfe": [3], "students": ["paper", "multistep"], "sample": {"validation": 500}},
    )
    explained(adasde(["teacher", "--nfe", "3"], tmp_path), "several students", "--student")


def planned(params: Params, folder: Path) -> dict[str, bytes]:
    plan(params, out=folder)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.json")}


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ({"distill": {"lr": 0.5}}, {"nfe3/mine.json", "nfe5/mine.json"}),
        ({"per_nfe": {5: {"distill": {"lr": 0.5}}}}, {"nfe5/mine.json"}),
        ({"per_nfe": {5: {"teacher": {"inserted": 9}}}}, {"nfe5/mine.json", "nfe5/mine.teacher.json"}),
    ],
)
def test_a_change_alters_the_files_that_it_concerns(own: dict, other: set[str], tmp_path: Path) -> None:
    students: dict[str, Any] = {"students": ["paper", "mine"]}
    before = planned(of(**students, recipes={"mine": {"recipe": "multistep"}}), tmp_path)
    assert set(before) == {
        f"nfe{k}/{n}{end}.json" for k in (3, 5) for n in ("paper", "mine") for end in ("", ".teacher")
    }
    after = planned(of(**students, recipes={"mine": {"recipe": "multistep"} | own}), tmp_path)
    assert {name for name in after if after[name] != before[name]} == other
    assert json.loads(after["nfe3/paper.json"])["distill"]["loop"] == "node-by-node"


def test_files_of_students_that_are_gone_are_removed(tmp_path: Path) -> None:
    planned(of(students=["paper", "multistep"]), tmp_path)
    assert set(planned(of(students=["paper"], nfe=[3]), tmp_path)) == {
        "nfe3/paper.json",
        "nfe3/paper.teacher.json",
    }
    assert not (tmp_path / "nfe5").exists()


@pytest.mark.parametrize(
    ("solver", "student", "label"),
    [
        (OWN, "paper", "AdaSDE (paper)"),
        (OWN, "single-step", "AdaSDE (retrained)"),
        (MULTISTEP, "multistep", "AdaSDE multistep"),
        (MULTISTEP, "mine", "AdaSDE multistep (mine)"),
        ("ipndm", "mine", "AdaSDE on ipndm (mine)"),
        (OWN, "custom", "AdaSDE"),
    ],
)
def test_labels(solver: str, student: str, label: str) -> None:
    assert label_of(solver, student) == label


def test_facts_come_from_the_table() -> None:
    about = {"student": "paper", "params": {"distill": {"energy_weight": 0.0}}}
    facts = facts_of(replace(random_table(gamma=0.1), provenance=about))
    assert (facts["label"], facts["real_images"]) == ("AdaSDE (paper)", False) and facts["gamma"] > 0
    assert facts_of(random_table(gamma=0.0))["real_images"] is None


RECIPE: dict[str, Any] = {
    "recipe": "single-step",
    "teacher": {"trajectories": 32, "shard": 16},
    "distill": {"trajectories": 32, "batch": 16, "energy_weight": 0.0, "paired_final": 1.0},
}


def test_two_students_share_a_teacher_and_stand_side_by_side(tmp_path: Path) -> None:
    values = tiny_values()
    for section in ("teacher", "distill"):
        values.pop(section)
    values["sample"]["validation"] = 40
    values |= {
        "students": ["one", "two"],
        "recipes": {"one": RECIPE, "two": {**RECIPE, "distill": {**RECIPE["distill"], "lr": 0.1}}},
    }
    write_params(tmp_path, values)
    assert all(
        adasde(STAGES[stage], tmp_path).code == 0 for stage in ("fetch", "reference", "plan", "baselines")
    )
    made = []
    for name in ("one", "two"):
        which = ["--nfe", "3", "--student", name]
        made.append(json.loads(adasde(["teacher", *which, "--json"], tmp_path).out))
        assert adasde(["distill", *which], tmp_path).code == 0
        assert adasde(["sample", *which], tmp_path).code == 0
    assert [one["made"] for one in made] == [2, 0]
    assert adasde(STAGES["evaluate"], tmp_path).code == 0
    document = json.loads((tmp_path / "data/metrics/nfe3.json").read_text())
    labels = ["AdaSDE (one)", "AdaSDE (two)"]
    assert list(document["students"]) == labels and list(document["rows"])[:2] == labels
    assert all(facts["validation_fid"] > 0 for facts in document["students"].values())
    assert adasde(STAGES["report"], tmp_path).code == 0
    page = (tmp_path / "report/index.html").read_text()
    assert all(label in page for label in labels) and "The learned rows" in page


def test_without_a_lock_the_teacher_is_computed_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with alone_on(tmp_path / "file" / "out", {}):
        assert (tmp_path / "file").is_file()
    with alone_on(tmp_path / "nfe3" / "out", {}):
        assert len(list((tmp_path / "nfe3").glob(".*.lock"))) == 1
