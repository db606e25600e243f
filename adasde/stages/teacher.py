"""Teacher trajectories."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adasde.config.params import Budget, Params
from adasde.distillation.shards import shards, write_trajectories
from adasde.distillation.teacher import Teacher
from adasde.errors import CheckpointError
from adasde.sampling.noise import latents
from adasde.stages.common import made_with, trained_model
from adasde.types import Model, Summary
from adasde.utils.atomic_io import sha256_json
from adasde.utils.batching import in_chunks
from adasde.utils.parallel import executor, spread
from adasde.utils.progress import track


def teacher(
    params: Params,
    nfe: int,
    *,
    checkpoint: Path,
    out: Path,
    student: str | None = None,
    workers: int = 1,
    dask: str | None = None,
) -> Summary:
    """Write the teacher's states at the student's nodes as shards; complete shards that fit are kept.

    For a student that learns its grid, whose inner nodes are not the teacher's: the states at both ends.

    Shards that a folder beside ``out`` has for another ``student`` are linked where they are the same.
    ``workers`` processes, or those of the Dask scheduler at ``dask``, compute a shard each; the bytes are
    the same.

    Raises:
        SolverError: ``nfe`` does not fit the student.
        CheckpointError: the model cannot be loaded, or a worker finds other weights.
        DataError: ``out`` cannot be written, or holds other files.
        AdaSDEError: no Dask scheduler responds.
    """
    budget = params.at(nfe, student)
    others = [out.parent / name for name in params.students if name != out.name == budget.student]
    params = budget.params
    model = trained_model(params, checkpoint)
    plan, origin = shards(params.training_seeds, params.teacher.shard), teacher_origin(budget, model=model)
    alone = workers == 1 and dask is None
    with track(params.teacher.trajectories, f"teacher@{budget.student}-{nfe}", "trajectories") as advance:

        def parallel(missing: Sequence[range]) -> Iterator[tuple[range, Tensor]]:
            job = partial(_shard, params.model_dump_json(), nfe, str(checkpoint.absolute()), model.sha256)
            with executor(min(workers, len(missing)), dask=dask) as pool:
                for seeds, states in spread(job, missing, pool):
                    advance(len(seeds))
                    yield seeds, torch.from_numpy(states)

        def here(missing: Sequence[range]) -> Iterator[tuple[range, Tensor]]:
            return ((seeds, _states(budget, model, seeds, advance)) for seeds in missing)

        with alone_on(out, origin) if others else nullcontext():
            made = write_trajectories(
                out,
                plan,
                made_from=origin,
                states=here if alone else parallel,
                reused=advance,
                others=others,
            )
    return {"out": str(out), "made": made, "reused": len(plan) - made}


@contextmanager
def alone_on(out: Path, origin: dict[str, Any]) -> Iterator[None]:
    """Wait for other processes that compute the same trajectories beside ``out``; theirs are then linked.

    Where no lock can be had, both compute them.
    """
    key = sha256_json(origin)
    with ExitStack() as stack:
        with suppress(OSError):
            out.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((out.parent / f".{key[:16]}.lock").open("a"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


_loading = Lock()


def _shard(params: str, nfe: int, checkpoint: str, sha256: str, seeds: range) -> np.ndarray:
    """The states of one shard in another process, which loads the model itself."""
    with _loading:  # a worker of Dask may have several threads
        budget, model = _loaded(params, nfe, checkpoint, sha256)
    return _states(budget, model, seeds).numpy()


@lru_cache(maxsize=1)
def _loaded(params: str, nfe: int, checkpoint: str, sha256: str) -> tuple[Budget, Model]:
    """Parameters (JSON) and their model, loaded once for all shards of a process.

    Raises:
        CheckpointError: the weights differ from those of the process that asks for the shards.
    """
    budget = Params.model_validate_json(params).at(nfe)
    model = trained_model(budget.params, Path(checkpoint))
    if model.sha256 != sha256:
        raise CheckpointError(
            f"{checkpoint} has weights of sha256 {model.sha256[:12]}… on this worker, and {sha256[:12]}… "
            "where the shards were asked for: give all workers the same files."
        )
    return budget, model


def _states(
    budget: Budget, model: Model, seeds: range, advance: Callable[[int], None] = lambda count: None
) -> Tensor:
    """The teacher's states [N+1, B, *shape] of ``seeds``, or [2, B, *shape] at both ends."""
    grid, settings = budget.params.schedule, budget.params.teacher
    solver = Teacher(solver=settings.solver, inserted=settings.inserted, substeps=settings.substeps)

    def states(chunk: range) -> Tensor:
        return solver.states(
            model.bind(chunk),
            latents(chunk, model.shape, device=model.device),
            schedule=grid.name,
            steps=budget.steps,
            sigma_min=grid.sigma_min,
            sigma_max=grid.sigma_max,
            rho=grid.rho,
            inner=not budget.settings.learn_grid,
        ).cpu()

    return in_chunks(seeds, settings.batch, states, advance=advance, dim=1)


def teacher_origin(budget: Budget, *, model: Model) -> dict[str, Any]:
    """Everything that a trajectory depends on, beside its seed."""
    params = budget.params
    classes = {} if params.teacher.classes == "balanced" else {"classes": params.teacher.classes}
    return {
        **made_with("teacher", params, model),
        **classes,
        "steps": budget.steps,
        "schedule": params.schedule.model_dump(exclude={"per_nfe"}),
        "teacher": params.teacher.model_dump(include={"solver", "inserted", "substeps", "batch"}),
        "kept": "both ends" if budget.settings.learn_grid else "all nodes",
    }
