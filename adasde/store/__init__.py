"""Bytes at rest, shared between machines: a folder or an S3-compatible bucket, and files from anywhere."""

from adasde.store.base import Entry, Store
from adasde.store.local import LocalStore
from adasde.store.opening import configured_url, open_store
from adasde.store.sources import local_copy, read_pointed, resolve_pointer

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
