"""``sample_adasde`` has k-diffusion's conventions and gives ``adasde.sample``'s images."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from closed_form import small_mixture
from noise_levels import SIZE, model, start
from tables import FORMS, random_table
from torch import Tensor

import adasde
from adasde.errors import CoefficientsError, SolverError
from adasde.integrations.k_diffusion import sample_adasde
from adasde.sampling.coefficients import neutral
from adasde.utils.torchvision_compat import usable_torchvision

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("afs", [False, True])
def test_images_are_those_of_sample(form: str, afs: bool) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        table, latents = random_table(form, afs=afs), adasde.latents(range(3), (SIZE,), dtype=dtype)
        noises = {step: torch.randn(3, SIZE, dtype=dtype) for step in range(table.steps)}
        nodes = table.sigmas.tolist()

        def by_level(sigma: Tensor, sigma_next: Tensor, nodes=nodes, noises=noises) -> Tensor:
            step = nodes.index(float(sigma))
            assert float(sigma_next) == nodes[step + 1]
            return noises[step]

        ours = sample_adasde(
            model,
            latents * table.sigmas[0],
            table.sigmas,
            disable=True,
            coefficients=table,
            noise_sampler=by_level,
        )
        expected = adasde.sample(
            small_mixture(), latents, table, lambda step, like, noises=noises: noises[step]
        )
        assert float((ours - expected).abs().max() / expected.abs().max()) < tolerance


def test_the_callback_sees_every_step() -> None:
    table, news = random_table(), []
    x = start(table) * table.sigmas[0]
    ours = sample_adasde(model, x, table.sigmas, None, news.append, True, coefficients=table)
    assert [one["i"] for one in news] == [0, 1, 2]
    assert torch.equal(news[0]["x"], x)
    assert float(news[1]["sigma_hat"]) == pytest.approx(float(table.sigmas[1] * (1 + table.gamma[1])))
    assert all(one["denoised"].shape == x.shape for one in news)
    assert ours.isfinite().all()


def test_the_callback_of_a_step_without_evaluation_sees_the_analytic_estimate() -> None:
    table, news = random_table("euler"), []
    x = start(table) * table.sigmas[0]
    sample_adasde(model, x, table.sigmas, None, news.append, True, coefficients=table)
    first = table.sigmas[0]
    torch.testing.assert_close(news[0]["denoised"], x * (1 - first / (1 + first**2).sqrt()))


def test_extra_arguments_reach_the_model_and_a_file_is_read(tmp_path) -> None:
    table, path = random_table(gamma=0.0), tmp_path / "c.json"
    table.save(path)
    x = start(table) * table.sigmas[0]
    plain, shifted = (
        sample_adasde(model, x, table.sigmas, extra, disable=True, coefficients=path)
        for extra in (None, {"shift": 0.5})
    )
    assert float((shifted - plain).mean()) > 0.3


def test_another_guidance_is_refused() -> None:
    table = random_table(model={"guidance": 7.5})
    message = r"distilled for guidance scale 7\.5, not 3\.0\. Use 7\.5"
    with pytest.raises(CoefficientsError, match=message):
        sample_adasde(model, start(table), table.sigmas, {"cond_scale": 3.0}, coefficients=table)


def test_the_strength_of_noise_scales_it() -> None:
    table = random_table(gamma=0.3)
    x = start(table) * table.sigmas[0]
    silent = sample_adasde(model, x, table.sigmas, disable=True, coefficients=table, s_noise=0.0)
    expected = adasde.sample(small_mixture(), start(table), table, lambda _, like: torch.zeros_like(like))
    torch.testing.assert_close(silent, expected)


def test_a_zero_at_the_end_is_left_out_and_other_nodes_are_refused() -> None:
    table = random_table(gamma=0.0)
    x = start(table) * table.sigmas[0]
    with_zero = torch.cat([table.sigmas, torch.zeros(1)])
    ours = [sample_adasde(model, x, s, disable=True, coefficients=table) for s in (table.sigmas, with_zero)]
    assert torch.equal(*ours)
    with pytest.raises(
        SolverError, match=r"distilled for the sigmas \[80\.0.*Pass sigmas=coefficients\.sigmas"
    ):
        sample_adasde(model, x, table.sigmas * 1.1, disable=True, coefficients=table)


@pytest.fixture(scope="module")
def k_diffusion() -> types.SimpleNamespace:
    """The package from PyPI, without those of its dependencies that its samplers do not use."""
    folder = ROOT / ".cache" / "k-diffusion"
    if not (folder / "k_diffusion").is_dir():
        wanted = ["k-diffusion==0.1.1.post1", "torchsde==0.2.6", "torchdiffeq==0.2.5", "trampoline==0.1.2"]
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        if subprocess.run([*command, *wanted], check=False).returncode:
            pytest.skip("k-diffusion cannot be installed")
    usable_torchvision()
    package = types.ModuleType("k_diffusion")
    package.__path__ = [str(folder / "k_diffusion")]  # its own __init__ imports a training framework
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setitem(sys.modules, "k_diffusion", package)
        yield types.SimpleNamespace(
            sampling=importlib.import_module("k_diffusion.sampling"),
            external=importlib.import_module("k_diffusion.external"),
        )


@pytest.mark.integration
def test_neutral_coefficients_are_k_diffusions_own_dpm_2(k_diffusion) -> None:
    class Predictor(torch.nn.Module):
        """eps of a data set with unit variance, seen through k-diffusion's wrapper."""

        def forward(self, z: Tensor, t: Tensor, **extra) -> Tensor:
            return z * 0.5 + 0.1 * (t / 1000).view(-1, 1)

    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    wrapped = k_diffusion.external.DiscreteEpsDDPMDenoiser(
        Predictor(), (1 - betas).cumprod(0), quantize=False
    )
    sigmas = torch.tensor([14.0, 5.0, 1.0, 0.2], dtype=torch.float64)
    x = adasde.latents(range(3), (SIZE,), dtype=torch.float64) * sigmas[0]
    theirs_seen, ours_seen = [], []
    theirs = k_diffusion.sampling.sample_dpm_2(wrapped, x, sigmas, callback=theirs_seen.append, disable=True)
    table = neutral(sigmas)
    ours = sample_adasde(wrapped, x, sigmas, callback=ours_seen.append, disable=True, coefficients=table)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    assert [set(one) for one in ours_seen] == [set(one) for one in theirs_seen]
    for mine, other in zip(ours_seen, theirs_seen, strict=True):
        torch.testing.assert_close(mine["denoised"], other["denoised"], rtol=1e-10, atol=1e-10)
