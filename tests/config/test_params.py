"""params.yaml: what is accepted, what is refused, and in which words."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from adasde.config.params import DistillParams, Params, TeacherParams, check_params, load_params
from adasde.distillation.distill import DistillSettings
from adasde.distillation.teacher import Teacher
from adasde.errors import ParamsError, SolverError

PROJECT = Path(__file__).parents[2]


def changed(values: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """``values`` with the dotted ``key`` set."""
    *parents, last = key.split(".")
    inner = values
    for parent in parents:
        inner = inner.setdefault(int(parent) if parent.isdigit() else parent, {})
    inner[int(last) if last.isdigit() else last] = value
    return values


def test_the_project_s_own_file_is_valid_and_comments_every_key() -> None:
    params = load_params(PROJECT / "params.yaml")
    assert params.nfe == [3, 5, 7, 9]
    lines = (PROJECT / "params.yaml").read_text().split("baselines:")[0].splitlines()
    keys = [line for line in lines if line.strip() and not line.strip().startswith("#")]
    bare = [line for line in keys if "#" not in line and not line.rstrip().endswith(":")]
    assert bare == []


OF_RECIPES = ("schedule", "teacher", "distill")
"""Sections whose keys packaged recipes set; docs/params.md has all of them."""


def test_the_file_names_every_key_of_the_schema() -> None:
    import yaml

    written = yaml.safe_load((PROJECT / "params.yaml").read_text())
    assert set(written) == set(Params.model_fields)
    for section in ("sample", "evaluate", "promotion", "storage"):
        schema = set(Params.model_fields[section].annotation.model_fields)  # type: ignore[union-attr]
        assert set(written[section]) >= schema - {"per_nfe"}, section


def test_distill_has_the_settings_of_the_method() -> None:
    mine = dict(DistillParams.model_fields)
    assert mine.pop("start").default is None and mine.pop("per_nfe").default == {}
    theirs = get_type_hints(DistillSettings)
    assert {name: field.annotation for name, field in mine.items()} == theirs and list(mine) == list(theirs)
    assert DistillParams().settings() == DistillSettings()


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("lr", 11, "at most 10"),
        ("lr", 0.0, "greater than 0"),
        ("points", 0, "at least 1"),
        ("scale_dir", 1.0, "less"),
    ],
)
def test_the_method_and_its_schema_refuse_the_same_values(
    values: dict[str, Any], key: str, value: float, rule: str
) -> None:
    with pytest.raises(ParamsError, match=rf"{key} = {value}: .*{rule}"):
        DistillSettings(**{key: value})
    with pytest.raises(ParamsError, match=rf"distill.{key} = {value} cannot be used"):
        check_params(changed(values, f"distill.{key}", value))


def test_the_comments_of_the_file_are_the_help_of_the_schema() -> None:
    section, before, seen = "", "", set()
    for line in (PROJECT / "params.yaml").read_text().splitlines():
        key = line.partition(":")[0]
        if not key.startswith(" ") and key in Params.model_fields:
            section = key
        keys = getattr(Params.model_fields[section].annotation, "model_fields", {}) if section else {}
        field = keys.get(key.strip()) if key.startswith("  ") else Params.model_fields.get(key)
        if field and field.description:
            assert field.description in line or field.description in before, line
            seen.add((section, key.strip()))
        before = line
    for name, field in Params.model_fields.items():
        keys = getattr(field.annotation, "model_fields", {})
        assert name in OF_RECIPES or {(name, key) for key in keys if key != "per_nfe"} <= seen, name


def test_the_teacher_s_fields_are_those_of_the_method() -> None:
    assert {field.name for field in fields(Teacher)} <= set(TeacherParams.model_fields)


def test_overrides_hold_at_their_nfe_alone(values: dict[str, Any]) -> None:
    values["distill"]["per_nfe"] = {3: {"lr": 0.2, "batch": 8}}
    values["teacher"]["per_nfe"] = {5: {"inserted": 2}}
    params = check_params(values)
    assert (params.distill.at(3).lr, params.distill.at(3).batch) == (0.2, 8)
    assert (params.distill.at(5).lr, params.distill.at(5).batch) == (DistillParams().lr, 16)
    budget = params.at(5)
    assert (budget.nfe, budget.steps, len(budget.sigmas)) == (5, 3, 4)
    assert budget.settings == params.distill.at(5).settings()
    assert budget.params.teacher.inserted == 2
    assert budget.params.nfe == [5]
    assert budget.params.distill.per_nfe == {}


def test_a_baseline_is_left_out_where_its_solver_does_not_fit(values: dict[str, Any]) -> None:
    values["baselines"]["Heun"] = {"solver": "heun"}
    assert set(check_params(values).at(5).params.baselines) == {"DDIM (Euler)", "Heun + AFS"}


def test_steps_come_from_the_solver(values: dict[str, Any]) -> None:
    assert [check_params(values).steps(nfe) for nfe in (3, 5, 7, 9)] == [2, 3, 4, 5]
    values["distill"]["points"] = 2
    values["nfe"] = [5]
    assert check_params(values).steps(5) == 2


def test_seeds_of_training_and_judging_never_meet(values: dict[str, Any]) -> None:
    params = check_params(values)
    assert len(params.sample.seeds) == 80
    assert not set(params.training_seeds) & set(params.sample.seeds)
    with pytest.raises(
        ParamsError, match=r"seeds 10 to 89 overlap the teacher's, 0 to 47; move sample.first_seed"
    ):
        check_params(changed(values, "sample.first_seed", 10))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sede", 1, "unknown key sede; did you mean 'seed'?"),
        ("distill.lrr", 0.1, "unknown key distill.lrr; did you mean 'lr'?"),
        ("distill.zzz", 1, "unknown key distill.zzz; known here: per_nfe, start, solver, solver_options"),
        (
            "distill.lr",
            "fast",
            "distill.lr = 'fast' cannot be used: it should be a valid number",
        ),
        (
            "distill.lr",
            11,
            "distill.lr = 11 cannot be used: it should be less than or equal to 10",
        ),
        ("distill.batch", 0, "distill.batch = 0 cannot be used: it should be greater than or equal to 1"),
        ("distill.batch", 1.5, "distill.batch = 1.5 cannot be used: it should be a valid integer"),
        ("distill.batch", True, "distill.batch = True cannot be used: it should be a valid integer"),
        ("distill.max_gradient", float("inf"), "distill.max_gradient = inf cannot be used"),
        (
            "distill.per_nfe.3.lr",
            -1,
            "distill.per_nfe.3.lr = -1 cannot be used: it should be greater than 0",
        ),
        ("distill.per_nfe.3.lrr", 1, "unknown key distill.per_nfe.3.lrr; did you mean 'lr'?"),
        ("distill.per_nfe.3", {"points": 2}, "points decides which states of the teacher are kept"),
        ("distill.per_nfe.3", {"learn_grid": True}, "learn_grid decides which states of the teacher"),
        ("distill.per_nfe.4", {}, "nfe=4 is impossible; the nearest are 3 and 5"),
        (
            "distill.per_nfe.three",
            {},
            "distill.per_nfe.three = 'three' cannot be used: it should be a valid integer",
        ),
        ("sample.images", 19, "sample.images = 19 is too few for evaluate.kid_subset_size = 20"),
        ("afs", "yes", "afs = 'yes' cannot be used: it should be a valid boolean"),
        ("nfe", 5, "nfe = 5 cannot be used: it should be a valid list"),
        ("nfe", [3, 3], "nfe names a number twice: [3, 3]"),
        ("nfe", [4], "nfe=4 is impossible; the nearest are 3 and 5"),
        ("schedule.name", "timeuniform", "Did you mean 'time_uniform'?"),
        ("schedule.sigma_min", 100, "sigma_min (100.0) must be below sigma_max (80.0)"),
        ("teacher.solver", "dmp2", "Did you mean 'dpm2'?"),
        ("teacher", 3, "teacher = 3 cannot be used: it should be a section, with keys of"),
        ("baselines.A.afs", True, "baselines.A.solver is missing"),
        ("baselines.A", {"solver": "ipndm", "options": {"ordr": 2}}, "Did you mean 'order'?"),
        (
            "baselines.A",
            {"solver": "ipndm", "options": {"order": 9}},
            "order to be a whole number from 1 to 4, got order=9",
        ),
        (
            "baselines.A",
            {"solver": "heun", "per_nfe": {3: {}}},
            "nfe=3 is impossible; the nearest are 2 and 4",
        ),
        ("baselines.adasde", {"solver": "euler"}, "two rows of baselines are too alike, or called AdaSDE"),
    ],
)
def test_refused_with_key_value_range_and_nearest_name(
    values: dict[str, Any], key: str, value: Any, message: str
) -> None:
    with pytest.raises(ParamsError) as error:
        check_params(changed(values, key, value), source="my.yaml")
    assert str(error.value).startswith("my.yaml: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_all_problems_are_named_at_once(values: dict[str, Any]) -> None:
    with pytest.raises(ParamsError) as error:
        check_params(changed(changed(values, "sede", 1), "distill.batch", 0))
    assert "sede" in str(error.value)
    assert "distill.batch" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "model: digits\nmodel: other\n",
            "line 2, column 1: this is not valid YAML: the key 'model' is given twice",
        ),
        ("model: [digits\n", "line 2, column 1: this is not valid YAML"),
        ("- digits\n", "must be a mapping of keys to values"),
        ("model: \xff", "this is not valid YAML"),
    ],
)
def test_files_that_are_no_params(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ParamsError, match=r"params.yaml") as error:
        load_params(path)
    assert message in str(error.value)


def test_a_missing_file_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(
        ParamsError, match=r"No such file or directory. Run this in the project folder, or name"
    ):
        load_params(tmp_path / "params.yaml")


def test_exponents_without_a_point_are_numbers_as_dvc_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("model: digits\nnfe: [3]\nschedule: {sigma_min: 2e-3, sigma_max: 8E1}\n")
    assert load_params(path).schedule.sigma_min == 0.002


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("metric", "fdi", "promotion.metric = 'fdi' cannot be used: it should be 'fid', 'kid'"),
        ("margin", -0.1, "promotion.margin = -0.1 cannot be used"),
        ("tolerance", {"recal": 0.1}, "did you mean 'recall'?"),
        ("tolerance", {"recall": "much"}, "promotion.tolerance.recall = 'much'"),
    ],
)
def test_a_policy_that_cannot_be(values: dict[str, Any], key: str, value: Any, message: str) -> None:
    with pytest.raises(ParamsError) as error:
        check_params(changed(values, f"promotion.{key}", value))
    assert message in str(error.value)


def test_a_budget_that_does_not_fit_is_refused(params: Params) -> None:
    with pytest.raises(SolverError, match="nfe=6 is impossible; the nearest are 5 and 7"):
        params.at(6)


@pytest.mark.parametrize("url", [None, "s3://bucket/a/b", "s3://bucket", "../shared", "file:///srv/store"])
def test_storage_is_a_bucket_or_a_folder(values: dict[str, Any], url: str | None) -> None:
    assert check_params(values | {"storage": {"url": url}}).storage.url == url


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("digits", "digits"),
        ("s3://b/models/mine/", "mine"),
        ("a/b", "b"),
        ("/", "model"),
        ("diffusers:google/ddpm-cifar10-32", "ddpm-cifar10-32"),
        ("diffusers:/a/b c/", "b-c"),
        ("file:models/mine.safetensors", "mine"),
        ("my_models:cats_64", "cats-64"),
    ],
)
def test_a_model_has_a_short_name(values: dict[str, Any], model: str, name: str) -> None:
    assert check_params(values | {"model": model}).model_name == name


@pytest.mark.parametrize("url", ["https://host/x", "gs://bucket", "s3://", "", 3])
def test_other_storage_is_refused(values: dict[str, Any], url: object) -> None:
    message = r"params: storage\.url = .*(s3://bucket/prefix|valid string|at least 1)"
    with pytest.raises(ParamsError, match=message):
        check_params(values | {"storage": {"url": url}})
