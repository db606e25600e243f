"""Golden data of EDM's networks: cases, deterministic weights, and the recipe that asked upstream's code.

    python tests/support/golden_edm_nets.py FOLDER

FOLDER holds a copy of github.com/NVlabs/edm at the commit ``COMMIT`` (read aside: its licence does not allow
to keep it here). Writes tests/data/edm_nets.npz (upstream's outputs) and tests/data/edm_nets_keys.json.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

COMMIT = "008a4e5316c8e3bfe61a62f874bddba254295afb"
DATA = Path(__file__).parents[1] / "data"
OUTPUTS, KEYS = DATA / "edm_nets.npz", DATA / "edm_nets_keys.json"
SIGMAS = (0.03, 1.0, 40.0)

VE = {
    "embedding_type": "fourier",
    "encoder_type": "residual",
    "channel_mult_noise": 2,
    "resample_filter": [1, 3, 3, 1],
}
SMALL = {"img_resolution": 16, "img_channels": 3, "model_channels": 16, "attn_resolutions": [8]}
SONG = SMALL | {"model_type": "SongUNet", "channel_mult": [1, 2], "num_blocks": 2, "augment_dim": 9}
ADM = SMALL | {"model_type": "DhariwalUNet", "channel_mult": [2, 4], "model_channels": 32, "num_blocks": 1}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "vp": ("EDMPrecond", SONG | {"channel_mult": [2, 2]}),
    "ve": ("EDMPrecond", SONG | VE | {"channel_mult": [1, 2, 2], "attn_resolutions": [8, 4]}),
    "vp-class-conditional": ("EDMPrecond", SONG | {"label_dim": 7, "sigma_data": 0.7}),
    "adm": ("EDMPrecond", ADM | {"label_dim": 7}),
    "vp-preconditioner": ("VPPrecond", SONG),
    "ve-preconditioner": ("VEPrecond", SONG | VE),
    "iddpm-preconditioner": ("iDDPMPrecond", ADM | {"label_dim": 7}),
}
"""Name -> class and constructor arguments of a small network, in upstream's words."""

CIFAR10 = {
    "img_resolution": 32,
    "img_channels": 3,
    "model_type": "SongUNet",
    "model_channels": 128,
    "channel_mult": [2, 2, 2],
    "augment_dim": 9,
    "dropout": 0.13,
    "use_fp16": False,
}
FACES = CIFAR10 | {"img_resolution": 64, "channel_mult": [1, 2, 2, 2], "dropout": 0.05}
IMAGENET = {"img_resolution": 64, "img_channels": 3, "label_dim": 1000, "model_type": "DhariwalUNet"}
FULL: dict[str, tuple[str, dict[str, Any]]] = {
    "cifar10-uncond-vp": ("EDMPrecond", CIFAR10),
    "cifar10-cond-vp": ("EDMPrecond", CIFAR10 | {"label_dim": 10}),
    "cifar10-uncond-ve": ("EDMPrecond", CIFAR10 | VE),
    "cifar10-cond-ve": ("EDMPrecond", CIFAR10 | VE | {"label_dim": 10}),
    "ffhq-uncond-vp": ("EDMPrecond", FACES),
    "ffhq-uncond-ve": ("EDMPrecond", FACES | VE),
    "afhqv2-uncond-vp": ("EDMPrecond", FACES | {"dropout": 0.25}),
    "afhqv2-uncond-ve": ("EDMPrecond", FACES | VE | {"dropout": 0.25}),
    "imagenet64-cond-adm": (
        "EDMPrecond",
        IMAGENET
        | {"model_channels": 192, "channel_mult": [1, 2, 3, 4], "num_blocks": 3, "dropout": 0.1}
        | {"attn_resolutions": [32, 16, 8], "use_fp16": True},
    ),
}
"""Name of a published checkpoint -> class and constructor arguments."""


def named(name: str, shape: Sequence[int]) -> Tensor:
    """Numbers of variance 1, float32, that depend on ``name`` and ``shape`` alone.

    Uniform on [-sqrt(3), sqrt(3)): the top 24 bits of every output of the counter-based generator Philox with
    the first 16 bytes of sha256(name) as its key.
    """
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    bits = np.random.Philox(key=key).random_raw(math.prod(shape)) >> np.uint64(40)
    values = (bits.astype(np.float32) * np.float32(2**-23) - np.float32(1)) * np.float32(math.sqrt(3))
    return torch.from_numpy(values.reshape(tuple(shape)))


def named_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights for a state dict, each from its name and shape, so that all activations are of order 1.

    Matrices and filters have the variance 1 / inputs; norms are 1 plus a tenth of noise, biases a tenth;
    Fourier frequencies are spread by 16. Filters of resampling and noise levels stay what they are.
    """
    weights = {}
    for name, tensor in state.items():
        last = name.split(".")[-1]
        if last in ("resample_filter", "u"):
            weights[name] = tensor.clone()
        elif last == "freqs":
            weights[name] = 16 * named(name, tensor.shape)
        elif tensor.ndim == 1:
            weights[name] = named(name, tensor.shape) / 10 + (last == "weight")
        else:
            weights[name] = named(name, tensor.shape) / math.sqrt(tensor[0].numel())
    return weights


def inputs(shape: Sequence[int], sigma: float, classes: int) -> tuple[Tensor, Tensor]:
    """Noisy images [B, *shape] at ``sigma``, B = 2, and labels [2] int64."""
    clean, noise = named("clean", shape).clamp(-1, 1), named("noise", shape)
    return clean / 2 + sigma * noise, torch.tensor([1, max(classes - 1, 0)])


def one_hot(labels: Tensor, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(labels, max(classes, 2)).float()


def keys_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The number of tensors and numbers in a state dict, and the sha256 of its sorted 'name shape' lines."""
    lines = sorted(f"{name} {list(tensor.shape)}\n" for name, tensor in state.items())
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    return {
        "tensors": len(lines),
        "numbers": sum(tensor.numel() for tensor in state.values()),
        "sha256": digest,
    }


@torch.no_grad()
def ask_upstream(upstream: Any, class_name: str, arguments: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Upstream's D at ``SIGMAS`` in float32, for labels and for none; and with augmentation labels."""
    network = getattr(upstream, class_name)(**arguments).eval()
    network.load_state_dict(named_weights(network.state_dict()))
    classes, side = arguments.get("label_dim", 0), arguments["img_resolution"]
    results = {}
    for sigma in SIGMAS:
        x, labels = inputs((2, 3, side, side), sigma, classes)
        hot = one_hot(labels, classes) if classes else None
        results[f"{sigma:g}"] = network(x, torch.tensor(sigma), hot).numpy()
    if classes:
        results["null"] = network(x, torch.tensor(sigma)).numpy()
    if "u" in network.state_dict():
        results["u"] = network.u.numpy()
    if "augment_dim" in arguments and class_name == "EDMPrecond":
        told = named("augment", (2, arguments["augment_dim"]))
        noise = torch.tensor([0.1, 0.2])
        hot = one_hot(labels, classes) if classes else None
        results["augmented"] = network.model(inputs(x.shape, 1, 0)[0], noise, hot, told).numpy()
    return results


def main(folder: str) -> None:
    sys.path.insert(0, folder)
    from training import networks as upstream  # type: ignore[import-not-found]

    outputs = {
        f"{case}/{name}": value
        for case, (class_name, arguments) in CASES.items()
        for name, value in ask_upstream(upstream, class_name, arguments).items()
    }
    np.savez_compressed(OUTPUTS, **outputs)
    with torch.device("meta"):
        full = {
            name: keys_of(getattr(upstream, class_name)(**arguments).state_dict())
            for name, (class_name, arguments) in FULL.items()
        }
    origin = {
        "upstream": f"https://github.com/NVlabs/edm/tree/{COMMIT}",
        "recipe": "tests/support/golden_edm_nets.py; every constructor called with the arguments in FULL",
        "sha256": "of the sorted lines 'name shape' of the state dict, one line each",
    }
    KEYS.write_text(json.dumps({"origin": origin, "published": full}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
