"""The coefficient table: validation, its file, and the student."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adasde.distillation.config import DistillSettings
from adasde.distillation.student import Student
from adasde.errors import CoefficientsError, DataError
from adasde.sampling.coefficients import Coefficients, neutral
from adasde.sampling.schedules import schedule

TABLE = ("sigmas", "gamma", "midpoint", "direction_scale", "time_scale", "weights")


def example(points: int = 1) -> Coefficients:
    table = neutral(schedule("time_uniform", 3, rho=1), points=points, afs=True)
    return dataclasses.replace(
        table, gamma=[0.0, 0.01, 0.02], model={"name": "digits", "sha256": "ab" * 32}, measured={"fid": 0.5}
    )


@settings(deadline=None)
@given(data=st.data(), steps=st.integers(1, 5), points=st.integers(1, 3), afs=st.booleans())
def test_file_round_trip_is_exact(tmp_path_factory, data, steps: int, points: int, afs: bool) -> None:
    def numbers(low: float, high: float) -> torch.Tensor:
        floats = st.floats(low, high, exclude_min=True, exclude_max=True)
        row = data.draw(st.lists(floats, min_size=steps * points, max_size=steps * points))
        return torch.tensor(row, dtype=torch.float64).reshape(steps, points)

    weights = numbers(0.1, 1)
    table = Coefficients(
        sigmas=schedule("polynomial", steps),
        gamma=torch.cat([torch.zeros(1), numbers(0, 0.5)[1:, 0]]),
        midpoint=numbers(0, 1),
        direction_scale=numbers(0.5, 2),
        time_scale=numbers(0.5, 2),
        weights=weights / weights.sum(1, keepdim=True),
        afs=afs,
        provenance={"seed": 3},
    )
    path = tmp_path_factory.mktemp("table") / "coefficients.json"
    table.save(path)
    again = Coefficients.load(path)
    for name in TABLE:
        torch.testing.assert_close(getattr(again, name), getattr(table, name), rtol=0, atol=0)
    assert (again.afs, again.provenance, again.nfe) == (afs, {"seed": 3}, steps * (points + 1) - afs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sigmas": [80.0, 90.0, 1.0, 0.1]}, "sigmas must be finite, positive and strictly decreasing"),
        ({"gamma": [0.1, 0.0, 0.0]}, "gamma must be finite, 0 at the first step"),
        ({"gamma": [0.0, -0.1, 0.0]}, "gamma must be finite"),
        ({"gamma": [0.0, float("nan"), 0.0]}, "gamma must be finite.*nan"),
        ({"midpoint": [[0.5], [1.0], [0.5]]}, r"midpoint must be finite and inside \(0, 1\)"),
        ({"direction_scale": [[1.0], [float("inf")], [1.0]]}, "direction_scale must be finite and > 0"),
        ({"time_scale": [[1.0], [0.0], [1.0]]}, "time_scale must be finite and > 0"),
        ({"weights": [[1.0], [0.5], [1.0]]}, "weights must be finite, and each row must sum to 1"),
        ({"gamma": [0.0, 0.0]}, r"gamma must have shape \[3\] for 3 steps of 1 point"),
        ({"midpoint": [0.5, 0.5, 0.5]}, r"need sigmas \[N\+1\] and midpoint \[N, K\]"),
        ({"midpoint": [[0.5], [0.5, 0.1], [0.5]]}, "midpoint must be numbers in a rectangular list"),
        ({"afs": "yes"}, "afs must be true or false, got 'yes'"),
    ],
)
def test_invalid_tables_are_refused_by_field(changes: dict, message: str) -> None:
    with pytest.raises(CoefficientsError, match=message):
        dataclasses.replace(example(), **changes)


def damaged(path: Path, kind: str) -> None:
    text = path.read_text()
    document = json.loads(text)
    if kind == "truncated":
        path.write_text(text[: len(text) // 2])
    elif kind == "nan":
        path.write_text(text.replace("0.02", "NaN", 1) if "0.02" in text else text)
    elif kind == "version":
        path.write_text(json.dumps(document | {"schema_version": 99}))
    elif kind == "no version":
        document.pop("schema_version")
        path.write_text(json.dumps(document))
    elif kind == "missing":
        document.pop("midpoint")
        path.write_text(json.dumps(document))
    elif kind == "extra":
        path.write_text(json.dumps(document | {"midpoints": 1}))
    elif kind == "nfe":
        path.write_text(json.dumps(document | {"nfe": 4}))
    elif kind == "binary":
        path.write_bytes(b"\x80\x04\x95\xff")
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", "is not a complete coefficient file"),
        ("binary", "is not a complete coefficient file"),
        ("nan", "gamma must be finite"),
        ("version", "schema version 99 is unknown; this program reads versions 1 to 3"),
        ("no version", "this is not a coefficient file"),
        ("missing", r"missing keys: \['midpoint'\]"),
        ("extra", r"unknown keys: \['midpoints'\]"),
        ("nfe", "nfe says 4, but the table needs 5"),
        ("absent", "cannot read coefficients .*No such file"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path: Path, kind: str, message: str) -> None:
    path = tmp_path / "coefficients.json"
    example().save(path)
    damaged(path, kind)
    with pytest.raises(CoefficientsError, match=message) as caught:
        Coefficients.load(path)
    assert str(path) in str(caught.value)


def test_another_checkpoint_is_refused_unless_forced() -> None:
    example().check_model("ab" * 32)
    with pytest.raises(CoefficientsError, match=r"distilled for 'digits' with sha256 abab.*--force"):
        example().check_model("cd" * 32)
    example().check_model("cd" * 32, force=True)


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*coefficients.json"):
        example().save(tmp_path / "file" / "coefficients.json")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def student(points: int = 2) -> Student:
    grid = schedule("time_uniform", 3, rho=1)
    settings = DistillSettings(points=points, gamma_max=0.02, scale_dir=0.05, scale_time=0.2)
    return Student(grid, settings, afs=True)


def test_zero_parameters_are_the_classical_solver() -> None:
    table, expected = student()(), neutral(schedule("time_uniform", 3, rho=1), points=2, afs=True)
    for name in TABLE:
        torch.testing.assert_close(getattr(table, name), getattr(expected, name), rtol=0, atol=0)


@pytest.mark.parametrize("size", [1.0, 10.0])
def test_any_parameters_give_a_valid_table(size: float) -> None:
    module = student()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_().mul_(size)
    with torch.no_grad():
        table = module()
    assert float(table.gamma.max()) <= 0.02 and float((table.direction_scale - 1).abs().max()) <= 0.05
    assert float((table.time_scale - 1).abs().max()) <= 0.2
