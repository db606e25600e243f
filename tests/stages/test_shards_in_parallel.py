"""Shards of trajectories from other processes and from a Dask cluster."""

from __future__ import annotations

import contextlib
from importlib import import_module
from pathlib import Path

import pytest
from command import tree

from adasde.config.params import Params
from adasde.errors import CheckpointError


@pytest.mark.parametrize("where", ["processes", "dask"])
def test_shards_from_elsewhere_have_the_same_bytes(
    params: Params, project: Path, tmp_path: Path, where: str
) -> None:
    stage = import_module("adasde.stages.teacher")
    given = {"checkpoint": project / "data/checkpoint", "out": tmp_path / "teacher"}
    with contextlib.ExitStack() as stack:
        if where == "dask":
            distributed = pytest.importorskip("distributed")
            options = {"n_workers": 2, "processes": False, "dashboard_address": None}
            address = stack.enter_context(distributed.LocalCluster(**options)).scheduler_address
            summary = stage.teacher(params, 3, **given, dask=address)
        else:
            summary = stage.teacher(params, 3, **given, workers=2)
    assert (summary["made"], summary["reused"]) == (3, 0)
    assert tree(tmp_path / "teacher") == tree(project / "data/teacher/nfe3/custom")
    assert stage.teacher(params, 3, **given, workers=2)["reused"] == 3


def test_shards_elsewhere_load_the_model_once_and_refuse_other_weights(
    params: Params, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = import_module("adasde.stages.teacher")
    loads: list[Path] = []
    load = stage.trained_model
    monkeypatch.setattr(
        stage, "trained_model", lambda params, path: (loads.append(path), load(params, path))[1]
    )
    checkpoint = project / "data/checkpoint"
    given = (params.model_dump_json(), 3, str(checkpoint), load(params, checkpoint).sha256)
    first, second = (stage._shard(*given, range(k, k + 2)) for k in (0, 2))
    assert len(loads) == 1 and (first != second).any()
    with pytest.raises(CheckpointError, match="0000… where the shards were asked for: give all workers"):
        stage._shard(*given[:3], "0" * 64, range(2))
