"""Released predictors as pickles: read as data, and hostile ones refused with nothing executed.

The real files cannot be shipped; these are written with the same structure as the release's: a dict whose
``model`` is a persistent object that carries source code, and parameters over storages saved as bytes.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from released_files import ENTRY, Calls, parameters_of, write_predictor, write_released

from adasde.errors import CheckpointError
from adasde.integrations.released import from_raw, load_predictor


def test_a_predictor_is_read_without_running_its_source(tmp_path: Path) -> None:
    table = load_predictor(write_predictor(tmp_path / "network-snapshot.pkl"))
    expected = from_raw(ENTRY["raw_parameters"], ENTRY["config"])
    for name in ("sigmas", "gamma", "midpoint", "direction_scale", "time_scale", "weights"):
        torch.testing.assert_close(getattr(table, name), getattr(expected, name), rtol=1e-6, atol=1e-9)
    assert table.nfe == expected.nfe and table.provenance["dataset"] == "cifar10"


@pytest.mark.parametrize(
    ("make", "asked_for"),
    [
        (lambda flag: Calls(os.system, f"touch {flag}"), "system"),
        (lambda flag: Calls(eval, f"open({str(flag)!r}, 'w')"), "builtins.eval"),
        (lambda flag: Calls(exec, f"open({str(flag)!r}, 'w')"), "builtins.exec"),
        (lambda flag: Calls(getattr, os, "system"), "builtins.getattr"),
        (lambda flag: Calls(open, str(flag), "w"), "open"),
        (lambda flag: Calls(torch.load, str(flag)), "torch.serialization.load"),
        (lambda flag: {"model": [Calls(os.mkdir, str(flag))]}, "mkdir"),
    ],
)
def test_hostile_pickles_are_refused_by_name(make, asked_for: str, tmp_path: Path) -> None:
    flag, path = tmp_path / "executed", tmp_path / "hostile.pkl"
    try:
        path.write_bytes(pickle.dumps(make(flag)))
    except TypeError:  # modules cannot be pickled: name one by hand
        path.write_bytes(b"cbuiltins\ngetattr\n(cos\nsystem\nVx\ntR.")
    with pytest.raises(
        CheckpointError, match=rf"hostile.pkl: the pickle asks for .*{asked_for}.*nothing was exec"
    ):
        load_predictor(path)
    assert not flag.exists()


def test_the_solvers_named_beside_the_numbers_are_neither_imported_nor_called(tmp_path: Path) -> None:
    state = {**ENTRY["config"], **parameters_of(ENTRY["raw_parameters"])}
    beside = {"sigma_min": 0.002, "sigma_max": 80.0, "t_steps": torch.ones(3), "buffer_t": []}
    path = write_released(tmp_path / "network-snapshot.pkl", state, beside)
    assert b"dpm_sampler" in path.read_bytes()
    table, expected = load_predictor(path), from_raw(ENTRY["raw_parameters"], ENTRY["config"])
    torch.testing.assert_close(table.time_scale, expected.time_scale, rtol=1e-6, atol=1e-9)
    assert table.provenance == {"released": "adasde_predictor", "dataset": "cifar10", "origin": "AdaSDE"}


def test_a_hostile_pickle_beside_the_numbers_is_refused(tmp_path: Path) -> None:
    flag, state = tmp_path / "executed", {**ENTRY["config"], **parameters_of(ENTRY["raw_parameters"])}
    path = write_released(tmp_path / "a.pkl", state, {"lpips": Calls(os.mkdir, str(flag))})
    with pytest.raises(CheckpointError, match=r"a.pkl: the pickle asks for .*mkdir, which"):
        load_predictor(path)
    assert not flag.exists()


def test_a_hostile_pickle_inside_a_storage_is_refused_too(tmp_path: Path) -> None:
    flag, path = tmp_path / "executed", tmp_path / "nested.pkl"
    inner = pickle.dumps(Calls(os.mkdir, str(flag)))
    path.write_bytes(pickle.dumps(Calls(torch.storage._load_from_bytes, inner)))
    with pytest.raises(CheckpointError, match=r"nested.pkl: the pickle asks for .*mkdir, which"):
        load_predictor(path)
    assert not flag.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"weights": 1}), "not a released predictor: it has no 'model' object"),
        (pickle.dumps([1, 2])[:-4], "is not a pickle that can be read"),
        (b"", "is not a pickle that can be read"),
        (b"\x80\x04NQ.", "the pickle refers to data outside itself"),
    ],
)
def test_files_that_are_no_predictors(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "other.pkl"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_predictor(path)


def test_another_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match="holds a Predictor, not an AdaSDE or EPD predictor: it lacks r_params"
    ):
        load_predictor(write_predictor(tmp_path / "net.pkl", _parameters={}))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read .*absent.pkl: No such file"):
        load_predictor(tmp_path / "absent.pkl")
