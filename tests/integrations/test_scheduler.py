"""The scheduler of diffusers: the same images as ``adasde.sample``, and refusals instead of wrong ones."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from per_sample import difference, generators, noise_of
from tables import FORMS, random_table
from tiny_networks import unconditional
from torch import Tensor

import adasde
from adasde.errors import CheckpointError, CoefficientsError, SolverError
from adasde.integrations.diffusers import AdaSDEScheduler
from adasde.models.core.parameterization import CLEAN, FLOW, Process

PREDICTIONS = list(CLEAN)
SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SHAPE = (3, 8, 8)


def scheduler_for(table: adasde.Coefficients, prediction: str = "epsilon") -> AdaSDEScheduler:
    return AdaSDEScheduler(table.to_document(), prediction_type=prediction, **SD)


def denoiser(network, process: Process) -> adasde.types.Denoiser:
    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        level = float(sigma)
        time = torch.tensor(process.time(level), dtype=torch.float32)
        return process.clean(x, level, network(x * process.shrink(level), time).sample)

    return denoise


@torch.no_grad()
def loop(scheduler: AdaSDEScheduler, network, latents: Tensor, seeds) -> Tensor:
    """What a pipeline does."""
    scheduler.set_timesteps(scheduler.table.steps)
    x, drawn = latents * scheduler.init_noise_sigma, generators(seeds)
    for t in scheduler.timesteps:
        output = network(scheduler.scale_model_input(x, t), t).sample
        x = scheduler.step(output, t, x, generator=drawn).prev_sample
    return x


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("afs", [True, False])
def test_images_are_those_of_sample(form: str, prediction: str, afs: bool) -> None:
    scheduler, seeds = scheduler_for(random_table(form, afs=afs), prediction), range(3)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        network, latents = unconditional(dtype), adasde.latents(seeds, SHAPE, dtype=dtype)
        denoise = denoiser(network, scheduler.process)
        expected = adasde.sample(denoise, latents, scheduler.table, noise_of(seeds))
        ours = loop(scheduler, network, latents, seeds)
        assert ours.dtype == dtype
        assert difference(ours, expected) < tolerance


def test_an_image_does_not_depend_on_its_batch() -> None:
    scheduler, seeds = scheduler_for(random_table()), range(64)
    latents = adasde.latents(seeds, SHAPE)
    together = loop(scheduler, unconditional(), latents, seeds)
    alone = torch.cat([loop(scheduler, unconditional(), latents[k : k + 1], [k]) for k in range(64)])
    assert difference(together, alone) < 1e-5


def test_it_is_saved_and_loaded_whole(tmp_path) -> None:
    scheduler = scheduler_for(random_table(), "v_prediction")
    scheduler.save_pretrained(tmp_path)
    json.loads((tmp_path / "scheduler_config.json").read_text())
    loaded = AdaSDEScheduler.from_pretrained(tmp_path)
    latents = adasde.latents(range(2), SHAPE)
    ours, before = (loop(one, unconditional(), latents, range(2)) for one in (loaded, scheduler))
    assert torch.equal(ours, before)
    assert loaded.order == 2


def test_from_the_settings_of_another_scheduler() -> None:
    from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

    document = random_table().to_document()
    ddim = DDIMScheduler(**SD, prediction_type="v_prediction")
    scheduler = AdaSDEScheduler.from_config(ddim.config, coefficients=document)
    assert (scheduler.process.prediction, scheduler.config.beta_end) == ("v_prediction", 0.012)
    flow = FlowMatchEulerDiscreteScheduler()
    with pytest.raises(CoefficientsError, match=r"needs prediction_type .*config=pipe\.scheduler\.config"):
        AdaSDEScheduler.from_config(flow.config, coefficients=document)
    assert AdaSDEScheduler.from_config(flow.config, coefficients=document, prediction_type=FLOW).process.flow


def test_noise_levels_are_those_of_diffusers() -> None:
    from diffusers import EulerDiscreteScheduler

    for settings in (SD, {}, {"beta_schedule": "squaredcos_cap_v2"}):
        other = EulerDiscreteScheduler(**settings)
        levels = ((1 - other.alphas_cumprod) / other.alphas_cumprod).sqrt().double().numpy()
        process = Process.of(other.config)
        assert process.levels == pytest.approx(levels, rel=1e-3)  # theirs are of float32
        other.set_timesteps(sigmas=[5.0, 1.0, 0.3, 0.0])
        assert [process.time(sigma) for sigma in (5.0, 1.0, 0.3)] == pytest.approx(
            other.timesteps.tolist(), abs=0.01
        )


def test_zero_terminal_signal_has_no_infinite_level() -> None:
    process = Process.of({**SD, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"})
    assert len(process.levels) == 999
    assert process.time(1e9) == 998


def test_flow_matching_keeps_its_own_states() -> None:
    """Added noise at an entry is (1 - u) x0 + u eps; half a signal is time 500 of 1000."""
    scheduler = scheduler_for(random_table(afs=False, gamma=0.0), FLOW)
    data, noise = torch.ones(1, 1), torch.full((1, 1), 3.0)
    time = scheduler.timesteps[2:3]
    u = float(time) / 1000
    assert scheduler.process.time(1.0) == 500
    assert scheduler.scale_noise(data, time, noise).item() == pytest.approx((1 - u) + 3 * u, rel=1e-3)


def test_beginning_later_is_the_tail_of_the_walk() -> None:
    table, network = random_table(afs=False, gamma=0.0), unconditional(torch.float64)
    scheduler, data = scheduler_for(table), torch.zeros(1, *SHAPE, dtype=torch.float64)
    noise = adasde.latents([0], SHAPE, dtype=torch.float64)
    scheduler.set_begin_index(2)
    x = scheduler.add_noise(data, noise, scheduler.timesteps[2:3])
    names = ("sigmas", "gamma", "midpoint", "direction_scale", "time_scale", "weights")
    tail = replace(table, **{name: getattr(table, name)[1:] for name in names})
    expected = adasde.sample(denoiser(network, scheduler.process), noise, tail)
    for t in scheduler.timesteps[2:]:
        output = network(scheduler.scale_model_input(x, t), t).sample
        x = scheduler.step(output, t, x).prev_sample
    assert difference(x, expected) < 1e-6  # the level in between went through float32 nowhere else


@pytest.mark.parametrize(
    ("afs", "begin", "message"),
    [
        (True, 1, r"cannot begin at evaluation 2: the analytic first step \(AFS\)"),
        (False, 1, "needs what was evaluated before it.*may begin at"),
    ],
)
def test_beginning_where_it_cannot(afs: bool, begin: int, message: str) -> None:
    form = "adasde" if not afs else "ipndm"
    with pytest.raises(SolverError, match=message.replace("evaluation 2", f"evaluation {begin}")):
        scheduler_for(random_table(form, afs=afs)).set_begin_index(begin)


def test_another_number_of_steps_is_refused() -> None:
    scheduler = scheduler_for(random_table())
    with pytest.raises(
        SolverError, match=r"for 3 steps \(5 network evaluations\), not for .*steps=10\. Use 3"
    ):
        scheduler.set_timesteps(10)


def test_other_nodes_are_refused_and_its_own_are_taken() -> None:
    scheduler = scheduler_for(random_table())
    scheduler.set_timesteps(timesteps=scheduler.timesteps)
    scheduler.set_timesteps(sigmas=scheduler.form.sigmas)
    with pytest.raises(SolverError, match=r"come with their own sigmas, \[.*others cannot be given"):
        scheduler.set_timesteps(sigmas=[3.0, 2.0, 1.0])


def test_another_guidance_or_prediction_is_refused(tmp_path) -> None:
    path = tmp_path / "c.json"
    random_table(model={"guidance": 7.5, "prediction_type": "epsilon"}).save(path)
    with pytest.raises(CoefficientsError, match=r"distilled for guidance scale 7\.5, not 3\.0\. Use 7\.5"):
        AdaSDEScheduler.from_coefficients(path, prediction_type="epsilon", guidance_scale=3.0)
    with pytest.raises(CoefficientsError, match="for prediction_type epsilon, not v_prediction"):
        AdaSDEScheduler.from_coefficients(path, prediction_type="v_prediction")
    with pytest.raises(CheckpointError, match=r"unknown prediction_type 'epsilom'.*Did you mean 'epsilon'"):
        Process.of({"prediction_type": "epsilom"})
    with pytest.raises(CheckpointError, match="unknown beta_schedule 'line'"):
        Process.of({"beta_schedule": "line"})


def test_latents_of_another_scale_are_refused() -> None:
    scheduler = scheduler_for(random_table(afs=True), FLOW)
    latents = adasde.latents(range(64), SHAPE)
    assert scheduler.init_noise_sigma < 0.93
    with pytest.raises(SolverError, match=r"standard deviation \S+ where 0\.\d+ .*init_noise_sigma"):
        scheduler.step(latents, scheduler.timesteps[0], latents)


def test_an_evaluation_too_many_is_refused() -> None:
    scheduler, latents = scheduler_for(random_table()), adasde.latents(range(2), SHAPE)
    loop(scheduler, unconditional(), latents, range(2))
    with pytest.raises(SolverError, match=r"all 5 evaluations are done; call set_timesteps\(3\)"):
        scheduler.step(latents, 0, latents)


def test_coefficients_are_asked_for() -> None:
    with pytest.raises(CoefficientsError, match=r"needs coefficients. Make it with .*from_coefficients"):
        AdaSDEScheduler()
