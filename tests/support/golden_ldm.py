"""Golden data of latent diffusion's decoders and of Stable Diffusion's U-Net, and the recipe.

    python tests/support/golden_ldm.py FOLDER

FOLDER holds copies of CompVis/latent-diffusion (``ldm``, at the commit in golden_openai.py; the files that
are used are the same in CompVis/stable-diffusion at 21f890f9da3cfbeaba8e2ac3c425ee9e998d5229) and of
CompVis/taming-transformers (``taming``, at 3ba01b241669f5ade541ce990f7650a3b8f65318). They need einops.
Writes tests/data/ldm_nets.npz, as golden_openai.py does.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden_edm_nets import DATA, named, named_weights
from golden_openai import TIMES, shapes
from torch import Tensor, nn

from adasde.utils.torchvision_compat import usable_torchvision

OUTPUTS = DATA / "ldm_nets.npz"
LOSS = {"target": "torch.nn.Identity"}
DECODER = {"resolution": 16, "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1}
DECODER |= {"attn_resolutions": [], "dropout": 0.0}
WHOLE = DECODER | {"resolution": 256, "ch": 128, "num_res_blocks": 2}
VQ = {"n_embed": 64, "embed_dim": 3, "ddconfig": DECODER | {"double_z": False, "z_channels": 3}}
KL = {"embed_dim": 4, "ddconfig": DECODER | {"double_z": True, "z_channels": 4}}
VQ_FULL = VQ | {"n_embed": 8192}
VQ_FULL |= {"ddconfig": WHOLE | {"double_z": False, "z_channels": 3, "ch_mult": [1, 2, 4]}}
KL_FULL = KL | {"ddconfig": WHOLE | {"double_z": True, "z_channels": 4, "ch_mult": [1, 2, 4, 4]}}
STABLE: dict[str, Any] = {
    "image_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "attention_resolutions": [1],
    "num_res_blocks": 2,
    "channel_mult": [1, 2],
    "num_heads": 8,
    "use_spatial_transformer": True,
    "transformer_depth": 1,
    "context_dim": 16,
    "use_checkpoint": False,
    "legacy": False,
}
STABLE_FULL = STABLE | {"model_channels": 320, "attention_resolutions": [4, 2, 1], "context_dim": 768}
STABLE_FULL |= {"channel_mult": [1, 2, 4, 4]}


def latents(channels: int) -> Tensor:
    return named("latents", (2, channels, 8, 8))


def embedding() -> Tensor:
    """What the U-Net is told for two prompts."""
    return named("embedding", (2, 5, 16))


@torch.no_grad()
def main(folder: str) -> None:
    for name in ("ldm", "taming"):
        sys.path.insert(0, f"{Path(folder)}/{name}")
    usable_torchvision()
    sys.modules["pytorch_lightning"] = types.ModuleType("pytorch_lightning")
    sys.modules["pytorch_lightning"].LightningModule = nn.Module  # type: ignore[attr-defined]
    from ldm.models.autoencoder import (  # type: ignore[import-not-found]
        AutoencoderKL,
        VQModelInterface,
    )
    from ldm.modules.diffusionmodules.openaimodel import UNetModel  # type: ignore[import-not-found]

    outputs: dict[str, np.ndarray] = {}
    for case, kind, small, full in (
        ("vq", VQModelInterface, VQ, VQ_FULL),
        ("kl", AutoencoderKL, KL, KL_FULL),
    ):
        network = kind(**small, lossconfig=LOSS).eval()
        network.load_state_dict(named_weights(network.state_dict()))
        outputs[f"{case}/small"] = shapes(network.state_dict())
        outputs[case] = network.decode(latents(small["embed_dim"])).numpy()
        with torch.device("meta"):
            outputs[f"{case}/full"] = shapes(kind(**full, lossconfig=LOSS).state_dict())
    network = UNetModel(**STABLE).eval()
    network.load_state_dict(named_weights(network.state_dict()))
    outputs["sd/small"] = shapes(network.state_dict())
    for time in TIMES:
        result = network(latents(4), torch.full((2,), time), context=embedding())
        outputs[f"sd/{time:g}"] = result.numpy()
    with torch.device("meta"):
        outputs["sd/full"] = shapes(UNetModel(**STABLE_FULL).state_dict())
    np.savez_compressed(OUTPUTS, **outputs)


if __name__ == "__main__":
    main(sys.argv[1])
