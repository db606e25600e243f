"""Golden data of OpenAI's U-Net: cases, and the recipe that asked upstream's code.

    python tests/support/golden_openai.py FOLDER

FOLDER holds copies of openai/guided-diffusion, openai/consistency_models and CompVis/latent-diffusion at the
commits ``COMMITS``, in ``adm``, ``cm`` and ``ldm``. They need einops; flash attention, which needs a GPU, is
replaced by PyTorch's own. Writes tests/data/openai_nets.npz: outputs for the weights of ``named_weights``,
and the names and shapes of all weights, of the small cases and of the published sizes, as JSON.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden_edm_nets import DATA, named, named_weights
from torch import Tensor, nn

from adasde.utils.torchvision_compat import usable_torchvision

COMMITS = {
    "openai/guided-diffusion": "22e0df8183507e13a7813f8d38d51b072ca1e67c",
    "openai/consistency_models": "e32b69ee436d518377db86fb2127a3972d0d8716",
    "CompVis/latent-diffusion": "a506df5756472e2ebaf9078affdde2c4f1502cd4",
}
OUTPUTS = DATA / "openai_nets.npz"
SIGMAS = (0.05, 1.0, 30.0)
TIMES = (3.25, 250.0, 990.5)
CLASSES = 7
LABELS = (1, 6)

ADM = {"use_scale_shift_norm": True, "resblock_updown": True}
SMALL: dict[str, dict[str, Any]] = {
    "adm": ADM | {"out_channels": 6, "num_classes": CLASSES, "channel_mult": (1, 2), "num_res_blocks": 2},
    "classifier": ADM | {"out_channels": CLASSES, "channel_mult": (1, 1, 2), "num_res_blocks": 2},
    "cm": {"resblock_updown": True, "out_channels": 3, "channel_mult": (1, 2, 2), "num_res_blocks": 1},
    "ldm": {"out_channels": 3, "channel_mult": (1, 2), "num_res_blocks": 2},
}
"""Name -> upstream's arguments beside ``BASE``."""
BASE: dict[str, Any] = {
    "image_size": 16,
    "in_channels": 3,
    "model_channels": 32,
    "attention_resolutions": (2,),
    "num_head_channels": 16,
}
WIDE = (1, 1, 2, 2, 4, 4)
FULL: dict[str, dict[str, Any]] = {
    "adm": ADM
    | {"image_size": 256, "model_channels": 256, "out_channels": 6, "num_res_blocks": 2, "channel_mult": WIDE}
    | {"attention_resolutions": (8, 16, 32), "num_head_channels": 64, "num_classes": 1000},
    "classifier": ADM
    | {"image_size": 256, "model_channels": 128, "out_channels": 1000, "num_res_blocks": 2}
    | {"channel_mult": WIDE, "attention_resolutions": (8, 16, 32), "num_head_channels": 64},
    "cm": {"image_size": 256, "model_channels": 256, "out_channels": 3, "num_res_blocks": 2}
    | {"resblock_updown": True, "channel_mult": WIDE, "attention_resolutions": (8, 16, 32)}
    | {"num_head_channels": 64},
    "ldm": {"image_size": 64, "model_channels": 224, "out_channels": 3, "num_res_blocks": 2}
    | {"channel_mult": (1, 2, 3, 4), "attention_resolutions": (8, 4, 2), "num_head_channels": 32},
}
"""The arguments of the published 256x256_diffusion, 256x256_classifier, edm_bedroom256 and lsun_beds256."""


def noisy(sigma: float) -> Tensor:
    """Images [2, 3, 16, 16] at a noise level."""
    return named("clean", (2, 3, 16, 16)).clamp(-1, 1) / 2 + sigma * named("noise", (2, 3, 16, 16))


def shapes(state: Mapping[str, Tensor]) -> np.ndarray:
    """Names and shapes of a state dict, as the bytes of a JSON text."""
    text = json.dumps({name: list(tensor.shape) for name, tensor in state.items()})
    return np.frombuffer(text.encode(), dtype=np.uint8)


def read_shapes(stored: np.ndarray) -> dict[str, list[int]]:
    return json.loads(stored.tobytes())


def _without_what_sampling_does_not_need() -> None:
    """Flash attention by PyTorch's own; no perceptual loss, no distributed training."""

    class FlashAttention(nn.Module):
        def __init__(self, **_: Any) -> None:
            super().__init__()

        def forward(self, qkv: Tensor, **_: Any) -> tuple[Tensor, None]:
            query, key, value = qkv.permute(2, 0, 3, 1, 4)
            result = nn.functional.scaled_dot_product_attention(query, key, value)
            return result.transpose(1, 2), None

    names = ("flash_attn", "flash_attn.flash_attention", "piq", "blobfile", "mpi4py")
    modules = {name: types.ModuleType(name) for name in names}
    modules["mpi4py"].MPI = None  # type: ignore[attr-defined]
    modules["piq"].LPIPS = nn.Identity  # type: ignore[attr-defined]
    modules["flash_attn.flash_attention"].FlashAttention = FlashAttention  # type: ignore[attr-defined]
    sys.modules |= modules


def upstream(folder: Path) -> dict[str, Callable[..., Any]]:
    usable_torchvision()
    for name in ("adm", "cm", "ldm"):
        sys.path.insert(0, str(folder / name))
    _without_what_sampling_does_not_need()
    from cm.unet import UNetModel as Consistency  # type: ignore[import-not-found]
    from guided_diffusion.unet import EncoderUNetModel, UNetModel  # type: ignore[import-not-found]
    from ldm.modules.diffusionmodules.openaimodel import (  # type: ignore[import-not-found]
        UNetModel as Latent,
    )

    def classifier(**arguments: Any) -> Any:
        return EncoderUNetModel(**arguments, pool="attention")

    return {"adm": UNetModel, "classifier": classifier, "cm": Consistency, "ldm": Latent}


@torch.no_grad()
def main(folder: str) -> None:
    kinds = upstream(Path(folder))
    outputs: dict[str, np.ndarray] = {}
    for case, kind in kinds.items():
        network = kind(**BASE | SMALL[case]).eval()
        network.load_state_dict(named_weights(network.state_dict()))
        outputs[f"{case}/small"] = shapes(network.state_dict())
        labels = {"y": torch.tensor(LABELS)} if "num_classes" in SMALL[case] else {}
        for time in TIMES:
            result = network(noisy(1.0), torch.full((2,), time), **labels)
            outputs[f"{case}/{time:g}"] = result.numpy()
        with torch.device("meta"):
            outputs[f"{case}/full"] = shapes(kind(**{"in_channels": 3} | FULL[case]).state_dict())
        if case == "cm":
            outputs |= {f"cm/D/{sigma:g}": denoised(network, sigma) for sigma in SIGMAS}
    outputs |= {f"classifier/gradient/{time:g}": gradient(kinds, time) for time in TIMES}
    np.savez_compressed(OUTPUTS, **outputs)


def denoised(network: nn.Module, sigma: float) -> np.ndarray:
    from cm.karras_diffusion import KarrasDenoiser  # type: ignore[import-not-found]

    diffusion = KarrasDenoiser(sigma_data=0.5)
    return diffusion.denoise(network, noisy(sigma), torch.full((2,), sigma))[1].numpy()


def gradient(kinds: Mapping[str, Callable[..., Any]], time: float) -> np.ndarray:
    """Upstream's guidance (scripts/classifier_sample.py, cond_fn) at scale 1."""
    network = kinds["classifier"](**BASE | SMALL["classifier"]).eval()
    network.load_state_dict(named_weights(network.state_dict()))
    with torch.enable_grad():
        x = noisy(1.0).requires_grad_()
        logits = network(x, torch.full((2,), time)).log_softmax(-1)
        chosen = logits[range(2), torch.tensor(LABELS)].sum()
        return torch.autograd.grad(chosen, x)[0].numpy()


if __name__ == "__main__":
    main(sys.argv[1])
