"""The embedded denoiser: preconditioning, dtypes, quality, speed of training's own parts, determinism."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from adasde.errors import CheckpointError
from adasde.evaluation.features import load_features
from adasde.models.core.checkpoint import CARD, cards, read_card
from adasde.models.core.preconditioning import Preconditioned, training_loss
from adasde.models.families.toy.data import digits, real_images
from adasde.models.families.toy.recipes import DIGITS, RECIPES, augment
from adasde.models.families.toy.trainer import train_classifier, train_denoiser
from adasde.models.families.toy.training import Muon, cosine_rate, descend, sample_sigmas
from adasde.models.loading import load_model

NAMES = sorted(cards())


class Recorder(nn.Module):
    """A network that keeps what it was given and returns a constant."""

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        self.x, self.c_noise = x, c_noise
        return torch.full_like(x, 0.5)


def test_preconditioning_is_edms() -> None:
    network, data = Recorder(), 0.5
    denoise = Preconditioned(network, data)
    x = torch.randn(3, 1, 2, 2, dtype=torch.float64)
    result = denoise(x, torch.tensor(2.0))
    assert torch.allclose(network.x.double(), x / (4 + data**2) ** 0.5, atol=1e-7)
    assert torch.allclose(network.c_noise, torch.tensor([2.0]).log() / 4)
    expected = data**2 / (4 + data**2) * x + 2 * data / (4 + data**2) ** 0.5 * 0.5
    assert result.dtype == torch.float64
    assert torch.allclose(result, expected, rtol=1e-12)


def test_the_loss_of_the_right_answer_is_zero_and_its_weight_edms() -> None:
    images, noise, sigma = torch.zeros(2, 1, 2, 2), torch.randn(2, 1, 2, 2), torch.tensor([0.1, 3.0])
    assert training_loss(lambda x, s: images, images, noise, sigma, 0.5) == 0
    off_by_one = training_loss(lambda x, s: images + 1, images, noise, sigma, 0.5)
    assert torch.allclose(off_by_one, ((sigma**2 + 0.25) / (sigma * 0.5) ** 2).mean())


@pytest.mark.parametrize("name", NAMES)
def test_a_model_keeps_shape_and_dtype_and_batch_items_apart(name: str) -> None:
    model = load_model(name)
    x = torch.randn(4, *model.shape, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float32, torch.float64):
        result = model.denoise(x.to(dtype), torch.tensor(1.5, dtype=dtype))
        assert result.shape == x.shape and result.dtype == dtype
    together = model.denoise(x, torch.tensor(1.5))
    assert torch.allclose(together[:1], model.denoise(x[:1], torch.tensor(1.5)), atol=1e-5)
    levels = model.denoise(x, torch.tensor([1.5, 1.5, 0.1, 0.1]))
    assert torch.allclose(levels[:2], together[:2], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_frozen_and_differentiable_in_x_and_sigma(name: str) -> None:
    model = load_model(name)
    x = torch.randn(2, *model.shape, requires_grad=True)
    sigma = torch.tensor(0.7, requires_grad=True)
    model.denoise(x, sigma).square().sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    assert sigma.grad is not None and sigma.grad.abs() > 0
    assert isinstance(model.denoise, nn.Module)
    assert not model.denoise.training
    assert not any(parameter.requires_grad for parameter in model.denoise.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_denoising_real_images_beats_the_linear_denoiser(name: str) -> None:
    """The linear (Wiener) denoiser is optimal for a Gaussian of the data's covariance."""
    model = load_model(name)
    clean = real_images(name).float() / 127.5 - 1
    flat = clean.flatten(1).double()
    values, vectors = torch.linalg.eigh(torch.cov(flat.T))
    generator = torch.Generator().manual_seed(0)
    for sigma, share in ((0.1, 0.7), (0.3, 0.7), (1.0, 0.8), (3.0, 1.0)):
        x = clean + sigma * torch.randn(clean.shape, generator=generator)
        shrink = vectors * (values / (values + sigma**2)) @ vectors.T
        linear = flat.mean(0) + (x.flatten(1).double() - flat.mean(0)) @ shrink
        error = (model.denoise(x, torch.tensor(sigma)) - clean).square().mean()
        assert error < share * (linear - flat).square().mean(), sigma


@pytest.mark.parametrize("name", NAMES)
def test_at_the_ends_of_the_range_the_answer_is_the_image_and_the_mean(name: str) -> None:
    model = load_model(name)
    clean = real_images(name)[:200].float() / 127.5 - 1
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    low, high = torch.tensor(model.sigma_min), torch.tensor(model.sigma_max)
    assert (model.denoise(clean + low * noise, low) - clean).abs().max() < 6 * model.sigma_min
    mean = (real_images(name).float() / 127.5 - 1).mean(0)
    assert (model.denoise(clean + high * noise, high) - mean).square().mean().sqrt() < 0.15


def test_real_images() -> None:
    images, labels = digits()
    assert images.shape == (1797, 1, 8, 8) and images.min() == -1 and images.max() == 1
    assert labels.bincount().min() > 170
    stored = real_images("digits")
    assert stored.dtype == torch.uint8 and stored.min() == 0 and stored.max() == 255
    assert (stored.float() / 127.5 - 1 - images).abs().max() <= 1 / 255 + 1e-6
    with pytest.raises(CheckpointError, match="no real images come with the model 'letters'"):
        real_images("letters")


def test_sigmas_are_log_normal_and_cover_the_range() -> None:
    settings = DIGITS.denoiser
    logs = sample_sigmas(4000, settings.p_mean, settings.p_std, torch.Generator().manual_seed(0)).log()
    assert abs(logs.mean() - settings.p_mean) < 0.01 and abs(logs.std() - settings.p_std) < 0.02


def test_the_rate_warms_up_and_ends_at_zero() -> None:
    assert cosine_rate(0, 100, 10) == pytest.approx(0.1)
    assert cosine_rate(50, 100, 10) == pytest.approx(0.5)
    assert cosine_rate(100, 100, 10) == pytest.approx(0)


def test_descent_minimises_and_averages_the_weights() -> None:
    weight = nn.Linear(1, 1, bias=False)
    nn.init.constant_(weight.weight, 4.0)
    seen: list[float] = []

    def loss(done: int) -> Tensor:
        seen.append(weight.weight.item())
        return (weight.weight - 1).square().sum()

    optimiser = torch.optim.SGD(weight.parameters(), lr=0.1)
    *_, average = descend(weight, [optimiser], loss, iterations=60, warm_up=1, ema=0.5)
    assert seen[0] == 4 and abs(weight.weight.item() - 1) < 0.01
    expected = seen[1]
    for value in [*seen[2:], weight.weight.item()]:
        expected = 0.5 * expected + 0.5 * value
    assert average.weight.item() == pytest.approx(expected, abs=1e-5)


def test_muon_sees_a_convolution_as_a_matrix() -> None:
    """One step on a convolution and one of PyTorch's own on the same numbers as a matrix."""
    generator = torch.Generator().manual_seed(3)
    convolution = nn.Conv2d(3, 4, 3, bias=False).to(memory_format=torch.channels_last)
    before = convolution.weight.detach().clone()
    gradient = torch.randn(before.shape, generator=generator)
    matrix = nn.Parameter(before.permute(0, 2, 3, 1).flatten(1).clone())
    matrix.grad = gradient.permute(0, 2, 3, 1).flatten(1)
    torch.optim.Muon([matrix], lr=0.1, weight_decay=0, adjust_lr_fn="match_rms_adamw").step()
    convolution.weight.grad = gradient.to(memory_format=torch.channels_last)
    Muon([convolution.weight], 0.1).step()
    moved = convolution.weight.detach()
    torch.testing.assert_close(moved.permute(0, 2, 3, 1).flatten(1), matrix.detach())
    assert (moved - before).square().mean().sqrt() == pytest.approx(0.02, rel=0.3)  # 0.2 of the rate


def test_augmentation_without_strength_changes_nothing() -> None:
    images = digits()[0][:5]
    generator = torch.Generator().manual_seed(0)
    silent = replace(DIGITS.classifier, noise=0)
    assert torch.allclose(augment(images, replace(silent, shift=0), generator), images, atol=1e-5)
    assert (augment(images, silent, generator) - images).abs().mean() > 0.02


def test_training_is_deterministic_reports_progress_and_makes_a_checkpoint(tmp_path: Path) -> None:
    denoiser, classifier = (
        replace(settings, iterations=5, batch=32) for settings in (DIGITS.denoiser, DIGITS.classifier)
    )
    seen: list[tuple[int, int]] = []
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    for folder in ("first", "second", "other"):
        seed = 1 if folder == "other" else 0
        out = tmp_path / folder
        train_denoiser("digits", out, seed=seed, settings=denoiser, progress=lambda *done: seen.append(done))
        train_classifier("digits", out, seed=seed, settings=classifier)
    assert torch.equal(before, torch.random.get_rng_state()) and threads == torch.get_num_threads()
    assert seen == [(done, 5) for done in range(1, 6)] * 3
    for file in (CARD, "model.safetensors", "features.safetensors"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
        assert (tmp_path / "first" / file).read_bytes() != (tmp_path / "other" / file).read_bytes()
    assert load_model(tmp_path / "first").shape == (1, 8, 8)


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_weights_come_from_the_defaults(name: str) -> None:
    card, recipe = cards()[name], RECIPES[name]
    for part, settings in ((card.model, recipe.denoiser), (card.features, recipe.classifier)):
        used = {key: value for key, value in asdict(settings).items() if value is not None}
        assert part.about["training"] == json.loads(json.dumps(used))
        assert part.about["seed"] == 0
    assert (card.name, card.data, card.license, card.shape) == tuple(vars(recipe.description).values())[:4]


def test_a_checkpoint_without_an_extractor_draws_but_does_not_judge(tmp_path: Path) -> None:
    train_denoiser("digits", tmp_path, settings=replace(DIGITS.denoiser, iterations=1, batch=2))
    assert read_card(tmp_path).features is None
    assert load_model(tmp_path).shape == (1, 8, 8)
    with pytest.raises(CheckpointError, match=r"has no feature extractor\. Name one in params\.yaml"):
        load_features(tmp_path)


def test_loading_needs_torch_numpy_and_safetensors_only() -> None:
    script = """
        import sys
        blocked = {"sklearn", "scipy", "torch_fidelity", "torchvision", "PIL", "pydantic", "yaml", "tqdm"}
        class Block:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in blocked:
                    raise ImportError(f"blocked: {name}")
        sys.meta_path.insert(0, Block())
        import adasde.evaluation.metrics, adasde.models.families.toy.trainer
        from adasde.evaluation.features import load_features
        from adasde.models import load_model
        import torch
        load_features("digits")(load_model("digits").denoise(torch.zeros(1, 1, 8, 8), torch.tensor(1.0)))
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, env=environment)
