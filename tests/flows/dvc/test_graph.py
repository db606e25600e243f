from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from adasde.errors import AdaSDEError
from flows.dvc import graph
from flows.dvc.graph import Stage

ROOT = Path(__file__).parents[3]
CHAIN = {s.name: s for s in (Stage("a", ()), Stage("b", ("a",)), Stage("c", ("b",)), Stage("d", ("a",)))}


def test_the_projects_stages_each_after_its_needs() -> None:
    stages = graph.read_stages(ROOT)
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    students = [f"{name}-{k}" for name in values["students"] for k in values["nfe"]]
    each = {f"{stage}@{item}" for stage in ("teacher", "distill", "sample") for item in students}
    each |= {f"{stage}@{k}" for stage in ("baselines", "evaluate") for k in values["nfe"]}
    assert set(stages) == {"fetch", "plan", "reference", "report"} | each
    samples = {f"sample@{name}-5" for name in values["students"]}
    assert set(stages["evaluate@5"].needs) == {"fetch", "reference", "baselines@5"} | samples
    assert set(stages["teacher@paper-5"].needs) == {"fetch", "plan"}
    seen: set[str] = set()
    for stage in stages.values():
        assert seen.issuperset(stage.needs)
        seen.add(stage.name)
    assert list(stages)[-1] == "report"


def test_stages_say_what_they_read_and_write() -> None:
    teacher, report = (graph.read_stages(ROOT)[name] for name in ("teacher@paper-5", "report"))
    assert {"students", "recipes", "teacher", "distill"} <= set(graph.read_stages(ROOT)["plan"].params)
    assert teacher.params == () and teacher.outs == ("data/teacher/nfe5/paper",)
    assert "adasde/distillation/teacher.py" in teacher.files and "data/checkpoint" not in teacher.files
    assert all(path.startswith("adasde/") for path in report.files), "what stages write is no project file"


def test_what_needs_a_changed_stage_is_not_settled() -> None:
    assert graph.settled(CHAIN, {}) == {"a", "b", "c", "d"}
    assert graph.settled(CHAIN, {"b": []}) == {"a", "d"}
    assert graph.settled(CHAIN, {"a": []}) == set()


def test_hashes_come_from_the_lock(tmp_path: Path) -> None:
    assert graph.output_hashes(tmp_path) == {}
    outs = [{"path": "x/nfe3", "hash": "md5", "md5": "1.dir", "size": 1}]
    (tmp_path / "dvc.lock").write_text(
        yaml.safe_dump({"schema": "2.0", "stages": {"s@3": {"outs": outs}, "t": {}}})
    )
    assert graph.output_hashes(tmp_path) == {"s@3": {"x/nfe3": "1.dir"}, "t": {}}


def test_a_damaged_lock_is_named(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text("{")
    with pytest.raises(AdaSDEError, match=r"dvc\.lock is damaged"):
        graph.output_hashes(tmp_path)


def test_outputs_that_belong_to_one_nfe() -> None:
    hashes = {
        "fetch": {"c": "1"},
        "plan": {"p": "0"},
        "distill@custom-3": {"d3": "2"},
        "distill@custom-13": {"d13": "3"},
        "distill@other-3": {"o3": "5"},
        "baselines@3": {"b3": "6"},
        "report": {"r": "4"},
    }
    assert graph.belonging(hashes, "custom", 3) == {"c": "1", "d3": "2", "b3": "6"}


def test_an_unreadable_graph_says_why(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: x, outs: [same]}, b: {cmd: y, outs: [same]}}\n")
    with pytest.raises(AdaSDEError, match=r"(?s)cannot read the stages.*same"):
        graph.read_stages(tmp_path)


def test_every_param_that_stages_depend_on_must_be_written_out(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: x, params: [seed, teacher]}, b: {cmd: x}}\n")
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    with pytest.raises(AdaSDEError, match=r"params\.yaml lacks teacher, .*`teacher: \{\}`"):
        graph.require_params(tmp_path)
    (tmp_path / "params.yaml").write_text("seed: 1\nteacher: {}\n")
    graph.require_params(tmp_path)


def test_the_projects_own_params_are_complete() -> None:
    graph.require_params(ROOT)
