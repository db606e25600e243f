"""OpenAI's U-Net and classifier: upstream's golden outputs, the names of the published weights, guidance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from golden_openai import LABELS, OUTPUTS, SIGMAS, TIMES, noisy, read_shapes
from small_openai import CASES, network, off, opened, small
from torch import Tensor

from adasde.errors import CheckpointError, SolverError
from adasde.models.core.checkpoint import Description, add_component
from adasde.models.core.parameterization import Process
from adasde.models.core.registry import FAMILIES, Opened, converted
from adasde.models.hub.cards import card_of
from adasde.models.loading import load_model
from adasde.sampling.wrappers import Counting
from adasde.types import Model

TOLERANCE = 1e-4  # of the largest value


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(OUTPUTS) as stored:
        return dict(stored)


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_upstreams(case: str, golden: dict[str, np.ndarray]) -> None:
    model: Any = network(small(case, golden))
    bare = model if case == "classifier" else model.network
    labels = (torch.tensor(LABELS),) if case == "adm" else ()
    for time in TIMES:
        result = bare(noisy(1.0), torch.tensor([time]), *labels)
        assert off(result, golden[f"{case}/{time:g}"]) < TOLERANCE, time


def test_consistency_models_denoise_as_upstream_does(golden: dict[str, np.ndarray]) -> None:
    denoise = network(small("cm", golden))
    for sigma in SIGMAS:
        assert off(denoise(noisy(sigma), torch.tensor(sigma)), golden[f"cm/D/{sigma:g}"]) < TOLERANCE, sigma


@pytest.mark.parametrize(("case", "process"), [("adm", (0.01, 157.407)), ("ldm", (0.0387589, 83.8225))])
def test_noise_is_predicted_at_the_times_of_the_training(
    case: str, process: tuple[float, float], golden: dict[str, np.ndarray]
) -> None:
    denoise: Any = network(small(case, golden))
    trained: Process = denoise.process
    assert (trained.lowest, trained.highest) == pytest.approx(process, rel=1e-4)
    sigma = float(trained.levels[250])
    labels = (torch.tensor(LABELS),) if case == "adm" else ()
    z = noisy(1.0)
    x = z * (1 + sigma**2) ** 0.5
    expected = x.numpy() - sigma * golden[f"{case}/250"][:, :3]
    assert off(denoise(x, torch.tensor(sigma), *labels), expected) < TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_the_full_size_has_the_published_names_and_shapes(case: str, golden: dict[str, np.ndarray]) -> None:
    """Every published weight has a place here, and every weight here a published one."""
    family, side, classes = CASES[case]
    published = {
        name: torch.empty(shape, device="meta") for name, shape in read_shapes(golden[f"{case}/full"]).items()
    }
    made = converted(family, opened(case, published, side=side))
    with torch.device("meta"):
        ours = FAMILIES[family](None, made.about).state_dict()  # type: ignore[arg-type]
    assert {name: tensor.shape for name, tensor in made.tensors.items()} == {
        name: tensor.shape for name, tensor in ours.items()
    }
    assert made.about.get("classes", 0) == classes


def test_averaged_weights_of_a_training_checkpoint_are_taken(golden: dict[str, np.ndarray]) -> None:
    shapes = read_shapes(golden["ldm/small"])
    plain = {f"model.diffusion_model.{name}": torch.zeros(shape) for name, shape in shapes.items()}
    average = {
        f"model_ema.diffusion_model{name.replace('.', '')}": torch.ones(shape)
        for name, shape in shapes.items()
    }
    about = {"card": {"shape": [3, 16, 16], "about": {"head": 16}}}
    assert all(
        (tensor == 1).all()
        for tensor in converted("ldm-unet", Opened(plain | average, about)).tensors.values()
    )
    assert all((tensor == 0).all() for tensor in converted("ldm-unet", Opened(plain, about)).tensors.values())


def test_other_files_are_refused(golden: dict[str, np.ndarray]) -> None:
    shapes = read_shapes(golden["cm/small"])
    weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    for tensors, words in (
        ({}, "not a checkpoint of the family 'openai-unet-edm'"),
        (weights | {"wings.weight": torch.zeros(1)}, "KeyError.'wings.weight'"),
        ({name: value for name, value in weights.items() if "out.2" not in name}, "KeyError.'out.2.weight'"),
        ({name: value for name, value in weights.items() if "blocks.3." not in name}, "not a checkpoint"),
    ):
        with pytest.raises(CheckpointError, match=words):
            converted("openai-unet-edm", opened("cm", tensors, side=16, head=16))
    with pytest.raises(CheckpointError, match="not a checkpoint of the family 'ldm-unet'"):
        converted("ldm-unet", Opened(weights, {"card": {"shape": [3, 16, 16]}}))


def guided(folder: Path, golden: dict[str, np.ndarray], **about: object) -> Model:
    """ADM and its classifier as a checkpoint folder; ``about``: more of the model's settings."""
    head = {"name": "adm", "data": "none", "license": "none", "shape": (3, 16, 16)}
    head |= {"sigma_min": 0.01, "sigma_max": 157.0}
    for role, case in (("model", "adm"), ("classifier", "classifier")):
        made = small(case, golden)
        folder.mkdir(exist_ok=True)
        tensors = {name: value.contiguous() for name, value in made.tensors.items()}
        safetensors.torch.save_file(tensors, folder / f"{role}.safetensors")
        more = about if role == "model" else {}
        add_component(folder, role, made.family, made.about | more, description=Description(**head))
    return load_model(folder)


def test_classifier_guidance_is_upstreams(tmp_path: Path, golden: dict[str, np.ndarray]) -> None:
    model = guided(tmp_path / "adm", golden)
    assert model.classes == 7
    process = Process.of({})
    sigma = float(process.levels[250])
    x = noisy(1.0) * (1 + sigma**2) ** 0.5
    noise = golden["adm/250"][:, :3]
    guided_noise = noise - 2.5 * sigma / (1 + sigma**2) ** 0.5 * golden["classifier/gradient/250"]
    with torch.no_grad():
        ours = model.bind(LABELS, 2.5)(x, torch.tensor(sigma))
    assert off(ours, x.numpy() - sigma * guided_noise) < TOLERANCE
    plain = model.bind(LABELS, 0.0)(x, torch.tensor(sigma))
    assert off(plain, x.numpy() - sigma * noise) < TOLERANCE
    clamped = guided(tmp_path / "clamped", golden, clamp=True)
    with torch.no_grad():
        inside = clamped.bind(LABELS, 2.5)(x, torch.tensor(sigma))
    assert torch.equal(inside, ours.clamp(-1, 1)) and not torch.equal(inside, ours)
    assert clamped.bind(LABELS, 2.5).cost == model.bind(LABELS, 2.5).cost
    assert np.abs(guided_noise - noise).max() > 100 * TOLERANCE * np.abs(noise).max()


def test_the_continuous_process_of_the_adasde_authors(golden: dict[str, np.ndarray]) -> None:
    empty = {name: torch.empty(shape) for name, shape in read_shapes(golden["adm/small"]).items()}
    made = converted("openai-unet", opened("adm", empty, side=16, head=16, continuous=True, clamp=True))
    assert made.about["clamp"] is True
    process = Process.of(made.about["process"])
    for t in (0.001, 0.3, 1.0):
        sigma = (torch.tensor(19.9 * t**2 / 2 + 0.1 * t, dtype=torch.float64).exp() - 1).sqrt()
        assert float(process.time(sigma)) == pytest.approx(999 * t, rel=1e-9)
        assert process.time(float(sigma)) == pytest.approx(999 * t, rel=1e-9)
    card = card_of("imagenet256-clamped")
    assert (card.sigma_min, card.sigma_max) == pytest.approx((process.lowest, process.highest), rel=1e-5)


def test_the_classifiers_gradient_is_upstreams(golden: dict[str, np.ndarray]) -> None:
    classifier = network(small("classifier", golden))
    for time in TIMES:
        z = noisy(1.0).requires_grad_()
        log_p = classifier(z, torch.tensor([time])).log_softmax(1)
        (gradient,) = torch.autograd.grad(log_p[range(2), torch.tensor(LABELS)].sum(), z)
        assert off(gradient, golden[f"classifier/gradient/{time:g}"]) < TOLERANCE


def test_guidance_counts_the_denoiser_alone_and_is_differentiable(
    tmp_path: Path, golden: dict[str, np.ndarray]
) -> None:
    model = guided(tmp_path / "adm", golden)
    counting = Counting(model.bind(LABELS, 2.0))
    x = noisy(1.0).double().requires_grad_()
    sigma = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)

    def added(level: Tensor) -> Tensor:
        """What guidance changes, as one number."""
        return (counting(x, level) - model.bind(LABELS, 0.0)(x, level)).square().sum()

    result = added(sigma)
    assert counting.nfe == 1 and result.dtype == torch.float64
    gradients = torch.autograd.grad(result, (x, sigma))
    assert all(one.isfinite().all() and one.abs().max() > 0 for one in gradients)
    step = 1e-3
    with torch.no_grad():
        above, below = (added(torch.tensor(1 + one, dtype=torch.float64)) for one in (step, -step))
    assert ((above - below) / (2 * step)).item() == pytest.approx(gradients[1].item(), rel=0.05)


def test_adm_draws_nothing_without_a_class(tmp_path: Path, golden: dict[str, np.ndarray]) -> None:
    model = guided(tmp_path / "adm", golden)
    with pytest.raises(SolverError, match="draws nothing without a class"):
        model.denoise(noisy(1.0), torch.tensor(1.0))
