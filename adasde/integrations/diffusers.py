"""``AdaSDEScheduler``: coefficients as a scheduler of ``diffusers`` pipelines."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import ConfigMixin, DiffusionPipeline, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from adasde.errors import CoefficientsError, SolverError
from adasde.integrations import fitting
from adasde.integrations.guidance import check_guidance
from adasde.integrations.linear_form import LinearSampler, linear_form
from adasde.models.core.parameterization import FLOW, Process, is_flow
from adasde.sampling.coefficients import Coefficients

SHARED = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)
"""Settings copied from another scheduler: how the network was trained."""


@dataclass
class AdaSDESchedulerOutput(BaseOutput):
    """``prev_sample``: the state for the next evaluation, or the image; ``pred_original_sample``: D here."""

    prev_sample: Tensor
    pred_original_sample: Tensor | None = None


class AdaSDEScheduler(SchedulerMixin, ConfigMixin):
    """Distilled coefficients as a scheduler.

    ``num_inference_steps`` counts steps, as in other schedulers of second order: it must be that of the
    coefficients, and the pipeline calls the network ``coefficients.nfe`` times. States between calls are
    x = x0 + sigma eps, and (1 - u) x0 + u eps for flow matching. Pipelines of flow matching do not scale
    their first latents: pass ``latents=noise * scheduler.init_noise_sigma``.

    Args:
        coefficients: the JSON document of a coefficient file (``from_coefficients`` reads one).
        num_train_timesteps, beta_start, beta_end, beta_schedule, trained_betas, rescale_betas_zero_snr: how
            the network was trained, as in other schedulers of ``diffusers``; ignored for flow matching.
        prediction_type: ``epsilon``, ``sample``, ``v_prediction`` or ``flow_prediction``.
        use_flow_sigmas: makes pipelines of flow matching use the scheduler's own noise levels.

    Raises:
        CoefficientsError: no coefficients, or another prediction than they were distilled for.
    """

    order = 2
    _begin_index: int | None
    _run: LinearSampler | None
    _pipe: weakref.ref[DiffusionPipeline] | None = None

    @register_to_config
    def __init__(
        self,
        coefficients: dict[str, Any] | None = None,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: list[float] | None = None,
        rescale_betas_zero_snr: bool = False,
        prediction_type: str | None = None,
        use_flow_sigmas: bool = True,
    ) -> None:
        if coefficients is None or prediction_type is None:
            missing = (
                "coefficients" if coefficients is None else "prediction_type (what the network predicts)"
            )
            raise CoefficientsError(
                f"an AdaSDEScheduler needs {missing}. Make it with AdaSDEScheduler.from_coefficients(path, "
                "config=pipe.scheduler.config), which takes from the pipeline how its network was trained."
            )
        self.table = Coefficients.from_document(coefficients)
        fitting.check_prediction(self.table, prediction_type)
        self.process = Process.of(self.config)
        self.form = linear_form(self.table)
        self.order = self.table.evaluations
        self.set_timesteps(self.table.steps)

    @classmethod
    def from_coefficients(
        cls,
        source: str | os.PathLike[str],
        config: fitting.Trained | None = None,
        *,
        prediction_type: str | None = None,
        guidance_scale: float | None = None,
        force: bool = False,
    ) -> AdaSDEScheduler:
        """The scheduler for a coefficient file: a path, ``s3://``, ``https://`` or ``models:/name@alias``.

        ``config`` is the pipeline, or the settings of its present scheduler. Without it DDPM's training is
        assumed, and ``prediction_type`` must be given. With a pipeline, its weights (if loaded from a folder)
        and the guidance scale of every call (``watch``) are checked, unless ``force``. With settings alone,
        ``guidance_scale`` is the one that will be used.

        Raises:
            CoefficientsError: the file cannot be used, or it was distilled for another checkpoint, guidance
                scale or prediction.
            StoreError: the address cannot be reached.
        """
        table, trained, config = Coefficients.load(source), config, fitting.settings_of(config)
        check_guidance(table, guidance_scale)
        settings = {name: config[name] for name in SHARED if config.get(name) is not None}
        if "trained_betas" in settings:
            settings["trained_betas"] = np.asarray(settings["trained_betas"]).tolist()
        found = FLOW if is_flow(config) else config.get("prediction_type")
        scheduler = cls(table.to_document(), prediction_type=prediction_type or found, **settings)
        if isinstance(trained, DiffusionPipeline) and not force:
            fitting.check_checkpoint(table, trained)
            scheduler.watch(trained)
        return scheduler

    def watch(self, pipe: DiffusionPipeline) -> None:
        """Check the guidance scale of every call of ``pipe``, which a scheduler itself never sees."""
        self._pipe = weakref.ref(pipe)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pipe": None}  # a copy belongs to no pipeline

    @property
    def init_noise_sigma(self) -> float:
        """Standard deviation of the first evaluated state, before ``scale_model_input``."""
        return self.form.start * self._kept_as(self.form.sigmas[0])

    @property
    def step_index(self) -> int | None:
        """Number of evaluations done since ``set_timesteps``; None before the first."""
        return self._run.done if self._run else None

    @property
    def begin_index(self) -> int | None:
        """The evaluation that the pipeline begins with; None: the first."""
        return self._begin_index

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Begin with a later evaluation, as image-to-image pipelines do.

        Raises:
            SolverError: sampling cannot begin there.
        """
        entries = self.form.entries
        if begin_index and begin_index not in entries:
            why = (
                "the analytic first step (AFS) replaces the first evaluation"
                if self.table.afs
                else ("a step of these coefficients needs what was evaluated before it")
            )
            raise SolverError(
                f"sampling cannot begin at evaluation {begin_index}: {why}. It may begin at "
                f"{sorted(entries) or 'none but the first'}; for image-to-image distil without AFS."
            )
        self._begin_index = begin_index

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | Tensor | None = None,
        sigmas: Sequence[float] | Tensor | None = None,
        mu: float | None = None,
    ) -> None:
        """Prepare for an image; ``timesteps`` and ``sigmas`` must be the coefficients' own.

        ``mu``, with which pipelines of flow matching shift a schedule, is ignored: the schedule is learned.

        Raises:
            SolverError: another number of steps or other nodes than the coefficients were distilled for.
            CoefficientsError: the watched pipeline was called with another guidance scale.
        """
        if self._pipe and (pipe := self._pipe()):
            check_guidance(self.table, getattr(pipe, "guidance_scale", None))
        table, levels = self.table, self.form.sigmas
        times = [self.process.time(sigma) for sigma in levels]
        if num_inference_steps not in (None, table.steps):
            raise SolverError(
                f"these coefficients were distilled for {table.steps} steps ({table.nfe} network "
                f"evaluations), not for num_inference_steps={num_inference_steps}. Use {table.steps}, or "
                "load coefficients of another budget."
            )
        for name, given, known in (("timesteps", timesteps, times), ("sigmas", sigmas, levels)):
            if given is not None and not fitting.alike(given, known):
                raise SolverError(
                    f"these coefficients come with their own {name}, {[round(one, 4) for one in known]}; "
                    "others cannot be given."
                )
        self.num_inference_steps = table.steps
        self.timesteps = torch.tensor(times, dtype=torch.float32, device=device)
        self.sigmas = torch.tensor([*levels, float(table.sigmas[-1])], dtype=torch.float32)
        self._begin_index = None
        self._run = None

    def scale_model_input(self, sample: Tensor, timestep: float | Tensor | None = None) -> Tensor:
        """Network input for the state ``sample`` of the next evaluation."""
        if self.process.flow:
            return sample
        return sample * self.process.shrink(self._sigma())

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: bool = True,
    ) -> AdaSDESchedulerOutput | tuple[Tensor, Tensor]:
        """State for the next evaluation from the network's output for this one, [B, *shape].

        ``generator``: one, or a list of one per sample, so that noise does not depend on the batch.

        Raises:
            SolverError: the first state is not pure noise of the standard deviation ``init_noise_sigma``, or
                there are no evaluations left.
        """
        sigma = self._sigma()
        if self._run is None:
            self._run = LinearSampler(self.form, self._begin_index or 0)
            self._check_noise(sample)
        x = sample if sample.dtype == torch.float64 else sample.float()
        x = x / self._kept_as(sigma)
        clean = self.process.clean(x, sigma, model_output)

        def draw(step: int) -> Tensor:
            return randn_tensor(x.shape, generator=generator, device=x.device, dtype=x.dtype)

        x = self._run.advance(x, clean, draw)
        if self._run.done < len(self.form.sigmas):
            x = x * self._kept_as(self._sigma())
        x, clean = x.to(sample.dtype), clean.to(sample.dtype)
        return AdaSDESchedulerOutput(x, clean) if return_dict else (x, clean)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """State ``original_samples`` + sigma ``noise`` at an evaluation where sampling can begin.

        Raises:
            SolverError: sampling cannot begin at one of ``timesteps``.
        """
        times = self.timesteps.to(timesteps.device)
        levels = [self._level(int((times - time).abs().argmin())) for time in timesteps.flatten()]
        shape = (-1, *[1] * (original_samples.ndim - 1))
        level = torch.tensor(levels, device=noise.device, dtype=noise.dtype).view(shape)
        x = original_samples + level * noise
        return x / (1 + level) if self.process.flow else x

    def scale_noise(self, sample: Tensor, timestep: Tensor, noise: Tensor) -> Tensor:
        """``add_noise`` under the name that pipelines of flow matching call."""
        return self.add_noise(sample, noise, timestep)

    def __len__(self) -> int:
        return self.process.times

    def _sigma(self) -> float:
        """Noise level given to the network at the next evaluation."""
        done = self._run.done if self._run else self._begin_index or 0
        if done == len(self.form.sigmas):
            raise SolverError(
                f"all {done} evaluations are done; call set_timesteps({self.table.steps}) for the next image."
            )
        return self.form.sigmas[done]

    def _level(self, evaluation: int) -> float:
        if evaluation not in self.form.entries:
            self.set_begin_index(evaluation)
        return self.form.entries.get(evaluation, self.form.start)

    def _kept_as(self, sigma: float) -> float:
        """Factor from x to the states that the pipeline keeps."""
        return self.process.shrink(sigma) if self.process.flow else 1.0

    def _check_noise(self, sample: Tensor) -> None:
        """Raise for first states of another scale, for instance of a pipeline that does not scale latents."""
        if self._begin_index:
            return
        found, wanted = float(sample.float().square().mean().sqrt()), self.init_noise_sigma
        if abs(found / wanted - 1) > max(0.05, 5 / math.sqrt(2 * sample.numel())):
            raise SolverError(
                f"the first latents have the standard deviation {found:.4g} where {wanted:.4g} "
                "(scheduler.init_noise_sigma) is expected. Pass latents=noise * scheduler.init_noise_sigma "
                "to the pipeline."
            )
