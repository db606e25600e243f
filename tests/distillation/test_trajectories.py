"""Shards: resumed from whole files, checked before use, batched in a seeded order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adasde.distillation.shards import shards, write_trajectories
from adasde.distillation.trajectories import Trajectories
from adasde.errors import DataError
from adasde.utils.manifest import MANIFEST
from adasde.utils.safetensors_io import load_tensors

SEEDS = range(100, 150)
PLAN = shards(SEEDS, 20)
ORIGIN = {"solver": "dpm2", "sha256": "abc"}


def states(seeds: range) -> Tensor:
    """[3, B, 1, 2, 2]: node + 1000 * seed, so that every value says where it belongs."""
    nodes = torch.arange(3.0).reshape(3, 1, 1, 1, 1)
    return (nodes + 1000 * torch.tensor(seeds).reshape(1, -1, 1, 1, 1)).expand(3, len(seeds), 1, 2, 2)


class Counted:
    """Computes states, counts the calls, and may fail at one of them."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.calls: list[range] = []
        self.fail_at = fail_at

    def __call__(self, seeds: range) -> Tensor:
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        self.calls.append(seeds)
        return states(seeds)


def fill(
    folder: Path, compute: Callable[[range], Tensor], origin: object = None, others: Sequence[Path] = ()
) -> int:
    reused: list[int] = []
    made_from = ORIGIN if origin is None else {"other": origin}

    def all_of(pieces):
        return ((seeds, compute(seeds)) for seeds in pieces)

    return write_trajectories(
        folder, PLAN, made_from=made_from, states=all_of, reused=reused.append, others=others
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_shards_cut_the_seeds() -> None:
    assert [len(seeds) for seeds in PLAN.values()] == [20, 20, 10]
    assert list(PLAN) == ["shard-00000.safetensors", "shard-00001.safetensors", "shard-00002.safetensors"]


def test_written_and_read_back(tmp_path: Path) -> None:
    assert fill(tmp_path, states) == 3
    tensors = load_tensors(tmp_path / "shard-00002.safetensors")
    assert tensors["seeds"].tolist() == list(range(140, 150))
    assert torch.equal(tensors["states"], states(range(140, 150)))


def test_a_run_that_was_killed_carries_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    fill(tmp_path / "whole", states)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "cut", Counted(fail_at=2))
    compute = Counted()
    assert fill(tmp_path / "cut", compute) == 1
    assert compute.calls == [range(140, 150)]
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_equal_shards_of_another_folder_are_linked(tmp_path: Path) -> None:
    fill(tmp_path / "one", states)
    damaged = tmp_path / "one/shard-00001.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    compute, others = Counted(), [tmp_path / "nothing", tmp_path / "one"]
    assert fill(tmp_path / "two", compute, others=others) == 1
    assert compute.calls == [range(120, 140)]
    opened(tmp_path / "two")
    assert (tmp_path / "two/shard-00000.safetensors").samefile(tmp_path / "one/shard-00000.safetensors")
    assert fill(tmp_path / "three", states, origin="heun", others=others) == 3


def test_nothing_to_do_changes_nothing(tmp_path: Path) -> None:
    fill(tmp_path, states)
    before = contents(tmp_path)
    compute = Counted()
    assert fill(tmp_path, compute) == 0
    assert compute.calls == []
    assert contents(tmp_path) == before


def test_a_damaged_shard_is_made_again_and_strangers_go(tmp_path: Path) -> None:
    fill(tmp_path, states)
    before = contents(tmp_path)
    shard = tmp_path / "shard-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    (tmp_path / "shard-00007.safetensors").write_bytes(b"old")
    (tmp_path / ".shard-00002.safetensors.77.tmp").write_bytes(b"half")
    (tmp_path / "folder").mkdir()
    compute = Counted()
    fill(tmp_path, compute)
    assert compute.calls == [range(120, 140)]
    assert contents(tmp_path) == before


def test_other_settings_empty_the_folder_first(tmp_path: Path) -> None:
    fill(tmp_path, states)
    compute = Counted()
    fill(tmp_path, compute, origin="heun")
    assert len(compute.calls) == 3


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(
        DataError, match=r"holds files that were not made here \(thesis.txt\).*empty folder with --out"
    ):
        fill(tmp_path, states)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_somebody_else_s_manifest_does_not_make_a_folder_ours(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"name": "a web page"}')
    (tmp_path / "index.html").write_text("hello")
    with pytest.raises(DataError, match=r"holds files that were not made here \(index.html\)"):
        fill(tmp_path, states)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", MANIFEST]


def opened(folder: Path) -> Trajectories:
    return Trajectories.open(folder, PLAN, made_from=ORIGIN)


def test_a_wrong_hash_names_the_file(tmp_path: Path) -> None:
    fill(tmp_path, states)
    shard = tmp_path / "shard-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=r"shard-00001.safetensors is missing or damaged: its SHA-256"):
        opened(tmp_path)
    shard.unlink()
    with pytest.raises(DataError, match=r"shard-00001.safetensors is missing or damaged"):
        opened(tmp_path)


def test_an_unfinished_folder_names_the_missing_shard(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, Counted(fail_at=1))
    with pytest.raises(DataError, match=r"shard-00001.safetensors is missing. Run the stage that makes"):
        opened(tmp_path)
    with pytest.raises(DataError, match=r"manifest.json does not exist"):
        opened(tmp_path / "nothing")


def test_states_of_other_settings_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, states, origin="heun")
    with pytest.raises(
        DataError, match="was made from other parameters, another checkpoint or by other code"
    ):
        opened(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 1, "files": {"a": 3}}', '{"version": 2, "files": {}}']
)
def test_a_broken_manifest_is_named_and_then_repaired(tmp_path: Path, text: str) -> None:
    fill(tmp_path, states)
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(DataError, match=r"manifest.json is damaged"):
        opened(tmp_path)
    fill(tmp_path, states)
    opened(tmp_path)


def test_batches_are_deterministic_and_cover_every_trajectory_once_a_pass(tmp_path: Path) -> None:
    fill(tmp_path, states)
    stored = opened(tmp_path)
    batches = list(stored.batches(8, seed=3, count=25))
    assert all(batch.states.shape == (3, 8, 1, 2, 2) for batch in batches)
    for batch in batches:
        assert torch.equal(batch.states[1, :, 0, 0, 0], 1 + 1000 * torch.tensor(batch.seeds).float())
    order = [seed for batch in batches for seed in batch.seeds]
    assert [sorted(order[start : start + 50]) for start in range(0, 200, 50)] == [list(SEEDS)] * 4
    assert order[:50] != order[50:100]
    again = [seed for batch in opened(tmp_path).batches(8, seed=3, count=25) for seed in batch.seeds]
    assert again == order
    other = [seed for batch in stored.batches(8, seed=4, count=25) for seed in batch.seeds]
    assert other != order


def test_a_batch_may_be_larger_than_everything_stored(tmp_path: Path) -> None:
    fill(tmp_path, states)
    (batch,) = opened(tmp_path).batches(120, seed=0, count=1)
    assert len(set(batch.seeds)) == 50
    assert len(batch.seeds) == 120


def test_at_most_two_shards_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, states)
    stored = opened(tmp_path)
    loaded: list[str] = []
    original = stored._load
    monkeypatch.setattr(stored, "_load", lambda name: loaded.append(name) or original(name))
    batches = stored.batches(8, seed=0, count=100)
    next(batches)
    assert len(loaded) <= 2
