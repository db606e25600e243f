"""Untrusted checkpoint files, read as data: nothing that they carry is run."""

from adasde.models.safe_pickle.process import Instance
from adasde.models.safe_pickle.reader import Opened, load_pickle, open_checkpoint
from adasde.models.safe_pickle.zip_reader import unpack

__all__ = ["Instance", "Opened", "load_pickle", "open_checkpoint", "unpack"]
