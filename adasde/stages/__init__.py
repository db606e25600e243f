"""The stages of the pipeline: plain functions from paths and params to files.

Each checks its inputs first, writes only whole files, and returns what it did as a small mapping. None
knows who calls it: a person on the command line, DVC, or a flow.
"""

from adasde.evaluation.statistics import reference_of
from adasde.stages.evaluate import evaluate
from adasde.stages.learn import distill, teacher
from adasde.stages.prepare import fetch, reference
from adasde.stages.sample import sample
from adasde.stages.train import train

__all__ = [
    "distill",
    "evaluate",
    "fetch",
    "reference",
    "reference_of",
    "sample",
    "teacher",
    "train",
]
