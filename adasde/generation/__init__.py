"""Images for people: any seeds, into a folder, an archive or a bucket, in pieces that survive a crash."""

from adasde.generation.drawing import Request, draw_images, draw_seeds
from adasde.generation.seeds import parse_seeds
from adasde.generation.sinks import open_place

__all__ = ["Request", "draw_images", "draw_seeds", "open_place", "parse_seeds"]
