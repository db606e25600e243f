"""Measuring again gives what the pipeline's own stages measured, and says what it misses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from adasde.config.params import Params
from adasde.errors import CoefficientsError, DataError
from flows.registry.re_evaluate import ReEvaluation

pytestmark = pytest.mark.integration  # every stage runs once


def test_the_same_numbers_as_the_pipeline(finished_project: Path, params: Params) -> None:
    re_evaluation = ReEvaluation.load(finished_project, params, "digits", 3)
    table = finished_project / "data/distill/nfe3/custom/coefficients.json"
    measured = re_evaluation.measure(table.read_bytes())
    known = json.loads((finished_project / "data/metrics/nfe3.json").read_text())
    (label,) = known.pop("students")
    assert measured.pop("student") == label
    assert measured["rows"] == {label: known["rows"][label]}
    assert json.loads(json.dumps({**measured, "rows": 0})) == {**known, "rows": 0}
    assert re_evaluation.protocol == known["protocol_hash"]


def test_other_params_are_another_protocol(finished_project: Path, params: Params) -> None:
    more = params.model_copy(update={"sample": params.sample.model_copy(update={"images": 50})})
    both = [ReEvaluation.load(finished_project, one, "digits", 3) for one in (params, more)]
    assert both[0].protocol != both[1].protocol


def test_coefficients_of_another_checkpoint(project: Path, params: Params) -> None:
    path = project / "data/distill/nfe3/custom/coefficients.json"
    document = json.loads(path.read_text()) | {"model": {"name": "other", "sha256": "0" * 64}}
    with pytest.raises(CoefficientsError, match="distilled for 'other'"):
        ReEvaluation.load(project, params, "digits", 3).measure(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("lost", "model", "words"),
    [
        ("data/checkpoint", "digits", "data/checkpoint.*'adasde run' make these files"),
        ("data/reference", "digits", "data/reference.*'adasde run' make these files"),
        ("report", "glyphs", "data/checkpoint is that of 'digits'.*Set model: glyphs"),
    ],
)
def test_what_is_missing_is_named(project: Path, params: Params, lost: str, model: str, words: str) -> None:
    shutil.rmtree(project / lost)
    with pytest.raises(DataError, match=f"cannot be done here: .*{words}"):
        ReEvaluation.load(project, params, model, 3)
