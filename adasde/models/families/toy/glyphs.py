"""Images of capital letters, made from seeds: 16x16 RGB, random face, size, rotation, colours and gradient.

The letters are drawn from the DejaVu fonts that come with matplotlib. Image k depends on seed k alone, so the
supply is unlimited; its class is ``k % 26``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from adasde.sampling.noise import draw

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FACES = (
    *("Sans", "Sans-Bold", "Sans-Oblique", "Sans-BoldOblique"),
    *("SansMono", "SansMono-Bold", "SansMono-Oblique", "SansMono-BoldOblique"),
    *("Serif", "Serif-Bold", "Serif-Italic", "Serif-BoldItalic"),
)
"""The text faces of the DejaVu family."""

SIZE = 16  # pixels of an image's side
REAL = range(200 * len(LETTERS))
"""The seeds of the real images that metrics compare with; no training uses them."""

HELD_OUT = range(REAL.stop, 2 * REAL.stop)
"""The seeds that measure the classifier's accuracy; no training uses them either."""

TRAININGS = ("denoiser", "classifier")  # each has seeds of its own

STEP = 1 << 32  # of the random numbers of an image; samplers draw theirs for small steps of the same seeds
NUMBERS = 16  # random numbers an image
MASK, BOX, OVERSAMPLED = 64, 44, 48  # sides of a letter's mask, of the letter in it, of the rotated letter
ROTATION = math.radians(20)  # largest, either way
SCALE = (0.85, 1.15)  # of a letter of 11 pixels (its larger side)
SHIFT = 1.25  # pixels, largest, either way
LEVEL, CHROMA = (0.3, 0.8), 0.6  # mean of a light colour's channels; largest distance of a channel from it


@cache
def masks() -> Tensor:
    """Coverage of every letter of every face, centred: float32 [faces, 26, 64, 64] in [0, 1]."""
    import matplotlib
    from PIL import ImageFont

    folder = Path(matplotlib.get_data_path()) / "fonts/ttf"
    out = np.zeros((len(FACES), len(LETTERS), MASK, MASK), dtype=np.float32)
    for rows, face in zip(out, FACES, strict=True):
        font = ImageFont.truetype(
            str(folder / f"DejaVu{face}.ttf"), 300, layout_engine=ImageFont.Layout.BASIC
        )
        for row, letter in zip(rows, LETTERS, strict=True):
            row[:] = _mask(font, letter)
    return torch.from_numpy(out)


def _mask(font: object, letter: str) -> np.ndarray:
    """One letter, its larger side ``BOX`` pixels, centred in [MASK, MASK]."""
    from PIL import Image, ImageDraw

    left, top, right, bottom = font.getbbox(letter)  # type: ignore[attr-defined]
    side = round(max(right - left, bottom - top) * MASK / BOX)
    canvas = Image.new("L", (side, side))
    corner = ((side - right - left) / 2, (side - bottom - top) / 2)
    ImageDraw.Draw(canvas).text(corner, letter, fill=255, font=font)  # type: ignore[arg-type]
    return np.asarray(canvas.resize((MASK, MASK), Image.Resampling.BOX), dtype=np.float32) / 255


def glyphs(seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Images [n, 3, 16, 16] float32 in [-1, 1] and their labels [n] int64, 0 (A) to 25 (Z).

    Label k is ``seeds[k] % 26``; everything else of image k comes from a stream of its own, keyed by
    ``seeds[k]`` (0 .. 2^64 - 1). A light letter is on a dark background or the other way round: the means of
    their channels differ by 0.6 at least.
    """
    uniform = torch.special.ndtr(draw(seeds, STEP, (NUMBERS,))).float().clamp(0, 1 - 1e-6)
    labels = torch.tensor([seed % len(LETTERS) for seed in seeds])
    face, light, pose, colours, direction = uniform.split([1, 1, 4, 9, 1], dim=1)
    covered = _place(masks()[(face[:, 0] * len(FACES)).long(), labels], pose)
    sign = torch.where(light < 0.5, 1.0, -1.0)
    letter, start, end = (_colour(colours[:, part], sign * way) for part, way in _COLOURS)
    ramp = _ramp(direction[:, 0] * 2 * math.pi)
    ground = start + (end - start) * ramp
    return (ground + (letter - ground) * covered).clamp(-1, 1), labels


_COLOURS = ((slice(0, 3), 1.0), (slice(3, 6), -1.0), (slice(6, 9), -1.0))
"""Which random numbers the letter and both ends of the background take; on which side of grey they are."""


def training_seeds(training: str, seed: int, done: int, batch: int) -> range:
    """The seeds of batch number ``done`` of one of ``TRAININGS`` with ``seed`` < 2^16: never used twice."""
    first = (TRAININGS.index(training) + 1 << 48) + (seed << 32) + done * batch
    return range(first, first + batch)


def _place(letters: Tensor, pose: Tensor) -> Tensor:
    """Rotate, scale and shift ``letters`` [n, 64, 64] by ``pose`` [n, 4] in [0, 1): [n, 1, 16, 16]."""
    angle = (2 * pose[:, 0] - 1) * ROTATION
    scale = SCALE[0] + (SCALE[1] - SCALE[0]) * pose[:, 1]
    shift = (2 * pose[:, 2:] - 1) * SHIFT * 2 / SIZE
    rotation = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()], dim=1).reshape(-1, 2, 2)
    matrix = rotation / scale[:, None, None]
    theta = torch.cat([matrix, -matrix @ shift[:, :, None]], dim=2)
    shape = [len(letters), 1, OVERSAMPLED, OVERSAMPLED]
    grid = nn.functional.affine_grid(theta, shape, align_corners=False)
    fine = nn.functional.grid_sample(letters[:, None], grid, align_corners=False)
    return nn.functional.avg_pool2d(fine, OVERSAMPLED // SIZE)


def _colour(numbers: Tensor, sign: Tensor) -> Tensor:
    """Colours [n, 3, 1, 1] of a random level, hue and chroma (``numbers`` [n, 3]).

    ``sign`` [n, 1]: +1 light, -1 dark.
    """
    level, hue, chroma = numbers.unbind(1)
    mean = sign[:, 0] * (LEVEL[0] + (LEVEL[1] - LEVEL[0]) * level)
    thirds = torch.arange(3) * (2 * math.pi / 3)
    channels = mean[:, None] + CHROMA * chroma[:, None] * (2 * math.pi * hue[:, None] - thirds).cos()
    return channels.clamp(-1, 1)[:, :, None, None]


def _ramp(angle: Tensor) -> Tensor:
    """A linear ramp across the image, 0 to 1, in the direction ``angle`` [n]: [n, 1, 16, 16]."""
    axis = (torch.arange(SIZE) + 0.5) / SIZE - 0.5
    across = angle.cos()[:, None, None] * axis + angle.sin()[:, None, None] * axis[:, None]
    return (across / math.sqrt(2) + 0.5)[:, None]
