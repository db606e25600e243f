from __future__ import annotations

import io

import pytest
from rich.console import Console

from flows.reproduce.compare import Comparison, compare, summary, tables

THEN = {
    "fetch": {"data/checkpoint": "a.dir"},
    "distill@custom-3": {"data/distill/nfe3/custom/coefficients.json": "b"},
    "sample@custom-3": {"data/samples/nfe3/custom": "c.dir", "data/samples/nfe3.custom.timing.json": "d"},
    "distill@custom-9": {"data/distill/nfe9/custom/coefficients.json": "left by an earlier run"},
}
NOW = {name: outs for name, outs in THEN.items() if name != "distill@custom-9"}
METRICS = {"fid": 0.5, "kid": float("nan"), "loss/node_1": 3.0}
MEASURED = {"fid": 0.5, "kid": float("nan")}


def compared(now: dict[str, dict[str, str]] | None = None, measured: dict[str, float] | None = None):
    return compare(THEN, now or NOW, metrics=METRICS, measured=measured or MEASURED)


def shown(comparison: Comparison) -> str:
    console = Console(file=io.StringIO(), width=150)
    for table in tables(comparison, inputs=["fetch"]):
        console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_equal_bytes_are_identical_whatever_the_wall_times() -> None:
    found = compared(
        NOW | {"sample@custom-3": THEN["sample@custom-3"] | {"data/samples/nfe3.custom.timing.json": "other"}}
    )
    assert found.identical
    assert [one.path for one in found.having("not judged")] == ["data/samples/nfe3.custom.timing.json"]
    assert summary(found) == "all 3 compared outputs are byte-identical; all 2 metrics are equal"
    text = shown(found)
    assert "1 of 1" in text and "not judged (wall times)" in text
    assert "input, taken as it was kept" in text
    assert "distill@custom-9" not in text and "Metrics that differ" not in text


@pytest.mark.parametrize(
    ("outputs", "state"),
    [
        ({"data/distill/nfe3/custom/coefficients.json": "other"}, "differs"),
        ({}, "missing"),
        ({"data/distill/nfe3/custom/coefficients.json": "b", "new": "x"}, "not recorded"),
    ],
)
def test_the_stage_that_differs_is_named(outputs: dict[str, str], state: str) -> None:
    found = compared(NOW | {"distill@custom-3": outputs})
    assert not found.identical
    ((stage, (output,)),) = found.differing.items()
    assert (stage, output.state) == ("distill@custom-3", state)
    assert state in shown(found)
    assert found.to_json()["identical"] is False
    assert state in [one["state"] for one in found.to_json()["stages"]["distill@custom-3"]]


def test_metrics_differ_by_so_much() -> None:
    found = compared(measured={"fid": 0.75, "kid": 0.1, "new": 1.0})
    assert found.identical, "judged are the bytes of outputs"
    assert {one.name: one.difference for one in found.other_metrics}["fid"] == 0.25
    assert {one.name for one in found.other_metrics} == {"fid", "kid", "new"}
    assert {one["name"]: one["difference"] for one in found.to_json()["metrics"]}["new"] is None
    assert "0.25" in shown(found) and "–" in shown(found)
    assert summary(found).endswith("3 of 3 metrics differ")
