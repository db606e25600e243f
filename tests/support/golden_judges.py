"""Golden data of DINOv2: a small network, and the recipe that asked upstream's code.

    python tests/support/golden_judges.py FOLDER

FOLDER holds a copy of github.com/facebookresearch/dinov2 at ``COMMIT``. Writes tests/data/judges.npz: the
class tokens of images for the weights of ``filled``, and the names and shapes of all weights of the published
ViT-L/14, as JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from golden_edm_nets import DATA, named, named_weights
from golden_openai import read_shapes, shapes
from torch import Tensor

COMMIT = "b8931f7bf91576930313be2c6d6af376033b35f0"
OUTPUTS = DATA / "judges.npz"
SMALL: dict[str, Any] = {"embed_dim": 128, "depth": 2, "num_heads": 2}
LARGE: dict[str, Any] = {"embed_dim": 1024, "depth": 24, "num_heads": 16}
BASE: dict[str, Any] = {"img_size": 518, "patch_size": 14, "init_values": 1.0, "block_chunks": 0}
"""What dinov2.hub.backbones says of all of them."""


def images() -> Tensor:
    """What the network is shown, [2, 3, 224, 224]."""
    return named("images", (2, 3, 224, 224))


def filled(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``named_weights``, with positions that matter."""
    return named_weights(state) | {"pos_embed": named("pos_embed", state["pos_embed"].shape)}


def weights(sizes: dict[str, Any]) -> dict[str, Tensor]:
    """The weights of the network of ``sizes``, by their published names."""
    key = "small" if sizes is SMALL else "large"
    with np.load(OUTPUTS) as stored:
        found = read_shapes(stored[key])
    empty = {name: torch.empty(shape, device="meta") for name, shape in found.items()}
    return filled(empty) if sizes is SMALL else empty


@torch.no_grad()
def main(folder: str) -> None:
    sys.path.insert(0, folder)
    from dinov2.models.vision_transformer import DinoVisionTransformer  # type: ignore[import-not-found]

    network = DinoVisionTransformer(**BASE | SMALL).eval()
    network.load_state_dict(filled(network.state_dict()))
    with torch.device("meta"):
        large = DinoVisionTransformer(**BASE | LARGE)
    outputs = {"tokens": network(images()).numpy()}
    outputs |= {"small": shapes(network.state_dict()), "large": shapes(large.state_dict())}
    np.savez_compressed(OUTPUTS, **outputs)


if __name__ == "__main__":
    main(sys.argv[1])
