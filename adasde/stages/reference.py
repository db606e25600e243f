"""The real images, their statistics, and the FID of the model itself, with many steps."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from adasde.config.params import Params
from adasde.distillation.energy import thinned
from adasde.evaluation.fd_dinov2 import check_dinov2, save_dinov2_statistics
from adasde.evaluation.features import extractor_of
from adasde.evaluation.metrics import image_features
from adasde.evaluation.protocol import FLOOR, REAL, STATISTICS, Evaluator
from adasde.evaluation.reference_data import real_or_moments
from adasde.sampling import integrate
from adasde.sampling.noise import latents
from adasde.sampling.wrappers import Counting
from adasde.stages.common import FEATURES, evaluated_model
from adasde.types import Model, Summary
from adasde.utils.atomic_io import write_json
from adasde.utils.batching import in_chunks
from adasde.utils.pixels import to_uint8
from adasde.utils.progress import track
from adasde.utils.safetensors_io import save_tensors

FLOOR_SOLVER, FLOOR_SCHEDULE, FLOOR_RHO = "heun", "polynomial", 7.0
"""The many-step sampler: EDM's deterministic one (Karras et al., 2206.00364)."""


def reference(params: Params, checkpoint: Path, *, out: Path, metrics: Path) -> Summary:
    """Write images, features, floor.safetensors and statistics.npz to ``out``, the numbers to ``metrics``.

    The images are ``evaluate.reference`` or those that come with the model; where statistics alone are known,
    there are none, and nothing but FID is measured. The floor is Heun's method with ``evaluate.floor_steps``
    intervals on the seeds of all samples, the limit of the model itself; with 0 or None there is no floor.

    Raises:
        CheckpointError: the model or its extractor cannot be loaded, or no real images belong to it.
        StoreError: the reference is at an address that cannot be reached.
        DataError: the reference cannot be used, or ``out`` or ``metrics`` cannot be written.
    """
    model = evaluated_model(params, checkpoint)
    real, moments = real_or_moments(params, model, checkpoint=checkpoint, beside=out / STATISTICS)
    check_dinov2(checkpoint, real)
    if real is None:
        (out / REAL).unlink(missing_ok=True)
    else:
        save_tensors(out / REAL, {"images": real})
    save_tensors(out / FEATURES, {"features": _known_features(real, checkpoint)})
    moments.save(out / STATISTICS)
    save_dinov2_statistics(checkpoint, out, real)
    evaluator = Evaluator.load(params, checkpoint=checkpoint, folder=out)
    made: Summary = {"out": str(out), "metrics": str(metrics)}
    if not (steps := params.evaluate.floor_steps):
        (out / FLOOR).unlink(missing_ok=True)
        write_json(metrics, evaluator.document({}))
        return made
    images, nfe = _floor(params, model, steps=steps)
    save_tensors(out / FLOOR, {"images": images})
    row = evaluator.row(images, nfe=nfe)
    write_json(metrics, evaluator.document({f"Heun, {steps} steps": row}))
    return made | {"fid": row["fid"]["mean"], "nfe": nfe}


def _known_features(real: Tensor | None, checkpoint: Path) -> Tensor:
    """Float32 features [n, F] of real images for the energy distance; n = 0 where there are none."""
    if real is None:
        return torch.zeros(0, 0)
    return image_features(thinned(real), extractor_of(checkpoint)).float()


def _floor(params: Params, model: Model, *, steps: int) -> tuple[Tensor, int]:
    """Images uint8 [n, C, H, W] of the many-step sampler and its evaluations per image."""
    settings = params.sample
    sigmas = params.schedule.sigmas(steps, name=FLOOR_SCHEDULE, rho=FLOOR_RHO)
    nfe = 0
    with track(2 * steps * settings.count, "reference", "evaluations") as advance:

        def draw(seeds: range) -> Tensor:
            nonlocal nfe
            counting = Counting(model.bind(seeds))

            def watched(x: Tensor, sigma: Tensor) -> Tensor:
                advance(len(x))
                return counting(x, sigma)

            start = latents(seeds, model.shape, device=model.device)
            images = integrate.solve(watched, start, sigmas, solver=FLOOR_SOLVER)
            nfe = counting.nfe
            return to_uint8(model.images(images)).cpu()

        images = in_chunks(settings.seeds, settings.batch, draw)
    return images, nfe
