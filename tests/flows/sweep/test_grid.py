"""What a sweep tries: the words of the command line, the combinations, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from tiny import tiny_values

from adasde.errors import ParamsError
from flows.dvc.graph import Stage
from flows.sweep.grid import make_trials, parse_settings, require_effect, touched


@pytest.mark.parametrize(
    ("word", "key", "values"),
    [
        ("distill.lr=0.05,0.1", "distill.lr", [0.05, 0.1]),
        ("distill.lr=1e-3", "distill.lr", [0.001]),
        ("nfe=3,5", "nfe", [3, 5]),
        ("nfe=[3,5]", "nfe", [[3, 5]]),
        ("nfe=[3,5],[7]", "nfe", [[3, 5], [7]]),
        ("afs=true,false", "afs", [True, False]),
        (" teacher.solver = dpm2, heun ", "teacher.solver", ["dpm2", "heun"]),
        ("distill.per_nfe={3: {lr: 0.2, batch: 8}}", "distill.per_nfe", [{3: {"lr": 0.2, "batch": 8}}]),
        ("model='a=b,c'", "model", ["a=b,c"]),
        ("distill.lr=", "distill.lr", []),
    ],
)
def test_words_are_yaml(word: str, key: str, values: list[Any]) -> None:
    assert parse_settings([word]) == {key: values}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["distill.lr"], r"--set distill.lr: it must be KEY=VALUE"),
        (["=3"], r"--set =3: it must be KEY=VALUE"),
        (["nfe=[3"], r"--set nfe=\[3: line 1.* not valid YAML"),
        (["nfe=3", "nfe=5"], r"--set names nfe twice: give all its values at once"),
    ],
)
def test_other_words_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        parse_settings(words)


def names(settings: dict[str, list[Any]]) -> list[str]:
    return [trial.name for trial in make_trials(tiny_values(), settings)]


def test_every_combination_is_a_trial_with_its_own_params() -> None:
    base = tiny_values()
    trials = make_trials(base, {"distill.lr": [0.05, 0.1], "nfe": [5, [3, 5]]})
    assert [trial.name for trial in trials] == [
        "lr=0.05 nfe=5",
        "lr=0.05 nfe=[3,5]",
        "lr=0.1 nfe=5",
        "lr=0.1 nfe=[3,5]",
    ]
    assert [(trial.params.distill.lr, trial.params.nfe) for trial in trials[1:3]] == [
        (0.05, [3, 5]),
        (0.1, [5]),
    ]
    assert trials[0].values["distill"] == {"trajectories": 64, "batch": 16, "lr": 0.05}
    assert base == tiny_values(), "the project's own params are as they were"


def test_names_are_short_where_that_is_clear() -> None:
    settings = {"distill.batch": [8], "teacher.batch": [4], "distill.lr": [0.1]}
    assert names(settings) == ["distill.batch=8 teacher.batch=4 lr=0.1"]
    assert names({"distill.per_nfe": [{3: {"lr": 0.2}}]}) == ["per_nfe={3:{lr:0.2}}"]
    assert names({"distill.per_nfe.3.lr": [0.2]}) == ["lr=0.2"]


def test_folders_are_safe_and_differ() -> None:
    one, two = make_trials(tiny_values(), {"distill.per_nfe": [{3: {"lr": 0.2}}, {5: {"lr": 0.2}}]})
    (plain,) = make_trials(tiny_values(), {"distill.lr": [0.1], "nfe": [5]})
    assert plain.folder == "lr=0.1_nfe=5"
    assert one.folder != two.folder
    assert not set(one.folder) & set("{}:/ ")
    keys = {f"distill.per_nfe.{nfe}.lr": [0.2] for nfe in range(3, 33, 2)}
    (long,) = make_trials(tiny_values(), keys)
    assert len(long.name) > len(long.folder) == 100


def test_a_budget_is_told_once() -> None:
    (with_budget,) = make_trials(tiny_values(), {"nfe": [5]})
    (several,) = make_trials(tiny_values(), {"nfe": [[3, 5]]})
    (without,) = make_trials(tiny_values(), {"distill.lr": [0.1]})
    assert (with_budget.varied(5), without.varied(3)) == ("nfe=5", "lr=0.1 nfe=3")
    assert several.varied(5) == "nfe=[3,5] nfe=5"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "at least one setting"),
        ({"distill.lr": []}, "has no value for distill.lr"),
        ({"distill.lr": [0.1, 0.1]}, "distill.lr = 0.1 twice"),
        (
            {"distill.lr": [0.1], "distill.rl": [1]},
            r"trial lr=0.1 rl=1: unknown key distill.rl; did",
        ),
        (
            {"distill.lr": [0.1, -1]},
            r"trial lr=-1: distill.lr = -1 cannot be used: .*greater than 0",
        ),
        ({"nfe": [4]}, "trial nfe=4: .*4"),
        ({"nfe": ["x"]}, r"trial nfe=x: nfe"),
        ({"distill.lr": [3], "distill": [{}]}, "sets distill and distill.lr, which is a part of it"),
        ({"model.lr": [3]}, "trial lr=3: model.lr cannot be set, because model is no section"),
        ({"model": ["digits", "glyphs"]}, "about one model"),
    ],
)
def test_what_cannot_be_tried_is_refused(settings: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        make_trials(tiny_values(), settings)


STAGES = {
    stage.name: stage
    for stage in (
        Stage("fetch", (), params=("model",)),
        Stage("teacher", ("fetch",), params=("seed", "distill.solver")),
        Stage("distill", ("teacher",), params=("distill",)),
        Stage("report", ("distill",), params=("nfe",)),
    )
}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"distill.lr"}, {"distill", "report"}),
        ({"distill"}, {"teacher", "distill", "report"}),
        ({"distill.solver"}, {"teacher", "distill", "report"}),
        ({"nfe"}, {"report"}),
        ({"seed", "nfe"}, {"teacher", "distill", "report"}),
        ({"see"}, set()),
    ],
)
def test_stages_that_a_setting_touches(keys: set[str], expected: set[str]) -> None:
    assert touched(STAGES, keys) == expected


def test_settings_without_effect_are_refused() -> None:
    require_effect(STAGES, ["distill.lr", "nfe"])
    with pytest.raises(ParamsError, match=r"no stage of dvc.yaml depends on promotion.margin.*distill, "):
        require_effect(STAGES, ["distill.lr", "promotion.margin"])


def test_a_recipe_is_the_one_student_of_its_trial() -> None:
    base = tiny_values() | {
        "students": ["paper", "multistep"],
        "sample": {"validation": 600, "first_seed": 10**6},
    }
    del base["teacher"], base["distill"], base["evaluate"]
    trials = list(make_trials(base, parse_settings(["recipe=paper,single-step"])))
    assert [trial.name for trial in trials] == ["recipe=paper", "recipe=single-step"]
    assert [trial.params.students for trial in trials] == [["paper"], ["single-step"]]
    assert [trial.params.at(3).settings.loop for trial in trials] == ["node-by-node", "end-to-end"]
    with pytest.raises(ParamsError, match=r"trial recipe=papr: .*unknown recipe 'papr'"):
        list(make_trials(base, parse_settings(["recipe=papr"])))
