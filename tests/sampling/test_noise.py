"""Noise belongs to (seed, step): not to the batch, its order, or the dtype."""

from __future__ import annotations

import pytest
import torch

from adasde.sampling.noise import SeededNoise, latents


def test_row_depends_on_its_seed_alone() -> None:
    like = torch.zeros(3, 2, 5, dtype=torch.float64)
    together = SeededNoise([11, 7, 11])(4, like)
    torch.testing.assert_close(together[1], SeededNoise([7])(4, like[:1])[0], rtol=0, atol=0)
    torch.testing.assert_close(together[0], together[2], rtol=0, atol=0)


def test_steps_seeds_and_latents_are_different_streams() -> None:
    like = torch.zeros(1, 1000, dtype=torch.float64)
    rows = [SeededNoise([seed])(step, like) for seed in (0, 1) for step in (0, 1)]
    rows.append(latents([0], (1000,), dtype=torch.float64))
    correlation = torch.corrcoef(torch.cat(rows)) - torch.eye(5)
    assert float(correlation.abs().max()) < 0.15


def test_is_standard_normal() -> None:
    x = latents(range(2000), (10,), dtype=torch.float64)
    assert abs(float(x.mean())) < 0.03 and abs(float(x.std()) - 1) < 0.03


def test_dtype_is_only_a_cast() -> None:
    single = latents([3, 2**63], (4,))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, latents([3, 2**63], (4,), dtype=torch.float64).float(), rtol=0, atol=0)


def test_known_values_do_not_drift_between_versions() -> None:
    expected = torch.tensor([KNOWN], dtype=torch.float64)
    torch.testing.assert_close(latents([0], (3,), dtype=torch.float64), expected, rtol=0, atol=1e-15)


def test_batch_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="seeded for 2 samples, got a batch of 3"):
        SeededNoise([0, 1])(0, torch.zeros(3, 4))


KNOWN = [0.15929546600623282, -1.7741885208017214, 1.3265118818830892]
