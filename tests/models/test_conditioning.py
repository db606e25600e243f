"""Classes and guidance: bound to the seeds, combined by guidance, counted as what they cost; the U-Net."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from adasde.errors import SolverError
from adasde.models.core.conditioning import Conditional, labels_of
from adasde.models.core.preconditioning import Preconditioned
from adasde.models.families.toy.unet import UNet
from adasde.sampling.wrappers import Counting
from adasde.types import Model

NULL = 3


def network(x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
    """Shifts every sample by its label; also by sigma, for one noise level a sample or one for all."""
    return x + labels[:, None] + sigma.reshape(-1, 1)


def conditional() -> Model:
    def condition(seeds: Sequence[int], guidance: float) -> Conditional:
        return Conditional(network, labels_of(seeds, NULL), null=NULL, guidance=guidance)

    return Model("toy", lambda x, sigma: x, (2,), 0.1, 1.0, "0", classes=NULL, condition=condition)


def test_the_class_of_a_seed_is_its_remainder() -> None:
    x, sigma = torch.zeros(4, 2), torch.tensor(0.5)
    bound = conditional().bind(range(4, 8))
    assert (bound(x, sigma) - sigma)[:, 0].tolist() == [1, 2, 0, 1]


def test_guidance_goes_from_the_null_class_through_the_class_and_beyond() -> None:
    model, seeds, x = conditional(), range(1, 3), torch.zeros(2, 2)
    for sigma in (torch.tensor(0.5), torch.tensor([0.5, 0.25])):
        results = {g: model.bind(seeds, g)(x, sigma) for g in (0.0, 1.0, 2.0, 3.0)}
        shift = sigma.reshape(-1, 1).expand(2, 2)
        torch.testing.assert_close(results[0.0], NULL + shift)
        torch.testing.assert_close(results[1.0], torch.tensor([[1.0], [2.0]]) + shift)
        torch.testing.assert_close(results[3.0] - results[2.0], results[2.0] - results[1.0])


def test_guidance_counts_two_evaluations() -> None:
    x, sigma = torch.zeros(2, 2), torch.tensor(0.5)
    for guidance, nfe in ((1.0, 3), (2.0, 6)):
        counting = Counting(conditional().bind(range(2), guidance))
        for _ in range(3):
            counting(x, sigma)
        assert counting.nfe == nfe


def test_a_model_without_classes_has_one_denoiser_for_all_seeds() -> None:
    model = Model("plain", lambda x, sigma: x, (2,), 0.1, 1.0, "0")
    assert model.bind(range(5)) is model.denoise
    with pytest.raises(SolverError, match="'plain' has no classes to guide to"):
        model.bind(range(5), 2.0)


def unet() -> UNet:
    torch.manual_seed(0)
    made = UNet(3, classes=NULL, width=16, blocks=1, embedding=16)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def test_the_unet_has_one_output_a_sample_and_knows_noise_level_and_class() -> None:
    x = torch.randn(1, 3, 16, 16).expand(4, -1, -1, -1)
    levels, labels = torch.tensor([0.1, 0.1, 0.5, 0.1]), torch.tensor([0, 0, 0, 1])
    result = unet()(x, levels, labels)
    assert result.shape == x.shape and result.dtype == x.dtype
    torch.testing.assert_close(result[0], result[1], atol=1e-4, rtol=1e-4)
    assert (result[2] - result[0]).abs().max() > 1e-3 and (result[3] - result[0]).abs().max() > 1e-3
    alone = unet()(x[:1], levels[:1], labels[:1])
    torch.testing.assert_close(alone, result[:1], atol=1e-4, rtol=1e-4)


def test_no_labels_mean_the_null_class() -> None:
    denoise = Preconditioned(unet())
    x, sigma = torch.randn(2, 3, 16, 16), torch.tensor(0.5)
    null = denoise(x, sigma, torch.full((2,), NULL))
    torch.testing.assert_close(denoise(x, sigma), null, atol=1e-4, rtol=1e-4)


def test_every_weight_of_the_unet_is_used() -> None:
    made = unet()
    made(torch.randn(4, 3, 16, 16), torch.randn(4), torch.arange(4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in made.parameters())


def test_a_fresh_unet_says_nothing() -> None:
    made = UNet(3, classes=NULL, width=16, blocks=1, embedding=16)
    assert made(torch.randn(2, 3, 16, 16), torch.zeros(1)).abs().max() < 0.2


def test_images_of_a_latent_model_are_decoded() -> None:
    latent = Model("latent", lambda x, sigma: x, (2,), 0.1, 1.0, "0", decode=lambda x: 3 * x)
    x = torch.ones(1, 2)
    assert torch.equal(latent.images(x), 3 * x)
    plain = Model("plain", lambda x, sigma: x, (2,), 0.1, 1.0, "0")
    assert plain.images(x) is x
