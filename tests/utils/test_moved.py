"""Files and programs from before the packages: coefficient files, a bundle, a registered version, imports.

``tests/data/before_packages`` was written at commit c66c630 by its command line: ``adasde run`` and
``adasde promote digits --nfe 3``; ``samples.json`` has what its ``adasde.sample`` drew with the three files.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

import adasde
from adasde.utils.moved import MOVED

BEFORE = Path(__file__).parents[1] / "data" / "before_packages"


@pytest.mark.parametrize("version", [1, 2, 3])
def test_coefficient_files_of_every_schema_draw_the_same_samples(version: int) -> None:
    path = BEFORE / f"schema{version}.json"
    assert json.loads(path.read_text())["schema_version"] == version
    table = adasde.Coefficients.load(path)
    seeds, model = range(2), adasde.load_model("digits")
    drawn = adasde.sample(
        model.bind(seeds), adasde.latents(seeds, model.shape), table, adasde.SeededNoise(seeds)
    )
    known = json.loads((BEFORE / "samples.json").read_text())[f"schema{version}"]
    torch.testing.assert_close(drawn.flatten(), torch.tensor(known), rtol=0, atol=1e-5)


def test_a_published_bundle_is_followed_and_verified() -> None:
    table = adasde.Coefficients.load(BEFORE / "bundle" / "champion.json")
    assert table.nfe == 3 and table.model["name"] == "digits"


def test_a_registered_version_runs_its_own_code() -> None:
    pyfunc = pytest.importorskip("mlflow.pyfunc")
    import pandas

    images = pyfunc.load_model(str(BEFORE / "registered")).predict(pandas.DataFrame({"seed": [0, 1]}))
    assert list(images.columns) == ["image", "height", "width"] and len(images) == 2


@pytest.mark.parametrize("old", MOVED)
def test_old_names_import_the_present_modules(old: str) -> None:
    assert import_module(old) is import_module(MOVED[old])
    code = f"import {old} as old, sys; print(old.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == MOVED[old]


def test_names_that_never_were_stay_unknown() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"adasde\.nothing"):
        import_module("adasde.nothing")
