"""Bytes at rest, shared between machines: a folder or an S3-compatible bucket, and files from anywhere."""

from adasde.storage.base import Entry, Store
from adasde.storage.fetch import local_copy, read_pointed, resolve_pointer
from adasde.storage.local import LocalStore
from adasde.storage.resolve import configured_url, open_store

__all__ = [
    "Entry",
    "LocalStore",
    "Store",
    "configured_url",
    "local_copy",
    "open_store",
    "read_pointed",
    "resolve_pointer",
]
