"""Images of any seeds, in a folder, an archive or a bucket; a run that is killed resumes."""

from adasde.generation.drawing import Request, draw_images, draw_seeds
from adasde.generation.seeds import parse_seeds
from adasde.generation.sinks import open_sink

__all__ = ["Request", "draw_images", "draw_seeds", "open_sink", "parse_seeds"]
