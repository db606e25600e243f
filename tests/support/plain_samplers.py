"""The published samplers, written plainly from their formulas: what an imported table has to reproduce.

Nothing of ``adasde`` is used, so that tests compare two independent programs. All in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

LATENT = {"ms_coco": (0.00085, 0.012), "lsun_bedroom_ldm": (0.0015, 0.0195)}
"""Ends of the 1000 betas, linear in their roots, that latent models were trained with."""

Denoise = Callable[[Tensor, Tensor], Tensor]


def trained_levels(dataset: str) -> np.ndarray:
    """log(1 + sigma^2) at the 1000 training times of a latent model."""
    first, last = LATENT[dataset]
    betas = np.linspace(math.sqrt(first), math.sqrt(last), 1000) ** 2
    return -np.log1p(-betas).cumsum()


def grid(facts: dict[str, Any]) -> Tensor:
    """Noise levels of a predictor's schedule; of flow matching its shares of noise."""
    kind, count, rho = facts["schedule_type"], facts["num_steps"], facts["schedule_rho"]
    u = np.linspace(0, 1, count)
    if kind == "flowmatch":
        return _flow_grid(facts, count)
    low, high = 0.002, 80.0
    if facts["dataset_name"] in LATENT:
        levels = trained_levels(facts["dataset_name"])
        low, high = (math.sqrt(math.expm1(levels[end])) for end in (0, -1))
    if kind == "polynomial":
        found = (high ** (1 / rho) + u * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    elif kind == "logsnr":
        found = high * (low / high) ** u
    elif kind == "time_uniform":
        a, b = math.log1p(high**2), math.log1p(low**2)  # beta_d / 2 + beta_min and the same at t = 0.001
        slope = 2 * (b / 1e-3 - a) / (1e-3 - 1)
        t = (1 + u * (1e-3 ** (1 / rho) - 1)) ** rho
        found = np.sqrt(np.expm1(slope * t**2 / 2 + (a - slope / 2) * t))
    else:
        t = (1 + u * (1e-3 ** (1 / rho) - 1)) ** rho
        found = np.sqrt(np.expm1(np.interp(t, np.arange(1, 1001) / 1000, levels)))
    return torch.from_numpy(found)


def _flow_grid(facts: dict[str, Any], count: int) -> Tensor:
    low, mu = facts["sigma_min"], facts.get("flowmatch_mu")
    shift = low * 999 / (1 - low) if mu is None else math.exp(mu)
    u = np.linspace(1, low, count)
    return torch.from_numpy(1 / (1 + (1 / u - 1) / shift))


def parallel(
    denoise: Denoise,
    latents: Tensor,
    nodes: Tensor,
    facts: dict[str, Any],
    raw: dict[str, Tensor],
    noise: Sequence[Tensor],
) -> list[Tensor]:
    """States of AdaSDE's step, or of EPD's where ``raw`` has no gamma."""
    ada, states = "gamma_params" in raw, [latents * nodes[0]]
    for i in range(len(nodes) - 1):
        row = {name: values[i].double().tolist() for name, values in raw.items()}
        total = sum(math.exp(w) for w in row["weight_s"])
        shares = [math.exp(w) / total for w in row["weight_s"]]
        last, t, s, x = i == len(nodes) - 2, nodes[i], nodes[i + 1], states[-1]
        gamma = 0.0
        if ada and facts["gamma"] and i > 0:
            low, high = facts["gamma_min"], facts["gamma"]
            for share, g in zip(shares, row["gamma_params"], strict=True):
                gamma += share * (low + (high - low) / (1 + math.exp(-(g / 2 + math.log(1.5)))))
        raised = t * (1 + gamma)
        if gamma:
            x = x + (raised**2 - t**2).sqrt() * noise[i]
        slope = x / (1 + raised**2).sqrt() if facts["afs"] and i == 0 else (x - denoise(x, raised)) / raised
        result = x
        for k, share in enumerate(shares):
            scales = {"scale_dir": 1.0, "scale_time": 1.0}
            for name in scales:
                most = min(facts[name], 0.99) if ada else facts[name]
                scales[name] += most * math.tanh(row[f"{name}_params"][k] / (2 if ada else 4))
            if last and facts["fcn"]:
                scales["scale_dir"] = 1.0
            r = 1 / (1 + math.exp(-row["r_params"][k]))
            middle = s**r * raised ** (1 - r)
            there = x + (middle - raised) * slope
            direction = (there - denoise(there, scales["scale_time"] * middle)) / middle
            result = result + share * scales["scale_dir"] * (s - raised) * direction
        states.append(result)
    return states


def flow(
    denoise: Denoise, latents: Tensor, nodes: Tensor, facts: dict[str, Any], raw: dict[str, Tensor]
) -> list[Tensor]:
    """States of EPD's step between shares of noise, x = (1 - u) x0 + u eps, starting at u = 1."""

    def velocity(x: Tensor, u: Tensor) -> Tensor:
        u = u.clamp(max=1 - 1e-9)
        return (x - denoise(x / (1 - u), u / (1 - u))) / u

    states = [latents]
    for i in range(len(nodes) - 1):
        u, s, x = nodes[i], nodes[i + 1], states[-1]
        first, total = velocity(x, u), torch.zeros_like(x)
        shares = torch.softmax(raw["weight_s"][i].double(), dim=0)
        for r, share in zip(torch.sigmoid(raw["r_params"][i].double()), shares, strict=True):
            middle = s**r * u ** (1 - r)
            total = total + share * velocity(x + (middle - u) * first, middle)
        states.append(x + (s - u) * total)
    return states


def weighted(
    denoise: Denoise, latents: Tensor, nodes: Tensor, facts: dict[str, Any], raw: dict[str, Tensor]
) -> list[Tensor]:
    """States of DyWeight: directions with weights, whose sum also moves the noise level."""
    weights, times = raw["hybrid_weights"].double(), raw.get("t_scale")
    states, slopes, t = [latents * nodes[0]], [], nodes[0]
    for i in range(len(nodes) - 1):
        x, behind = states[-1], i - int(facts["afs"])
        if behind < 0:
            slopes.append(x / (1 + t**2).sqrt())
        else:
            scale = 1.0 if times is None else float(times[behind])
            slopes.append((x - denoise(x, scale * t)) / t)
        interval = nodes[i + 1] - t
        states.append(x + interval * sum(w * slope for w, slope in zip(weights[i], slopes, strict=False)))
        t = t + interval * weights[i, : i + 1].sum()
    return states
