"""Images for people: any seeds, into a folder, an archive or a bucket, in pieces that survive a crash."""

from adasde.images.draw import Request, draw_images, draw_seeds
from adasde.images.places import open_place
from adasde.images.seeds import parse_seeds

__all__ = ["Request", "draw_images", "draw_seeds", "open_place", "parse_seeds"]
