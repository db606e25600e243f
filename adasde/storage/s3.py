"""A bucket of an S3-compatible server as a store. Imported when such a store is opened: needs boto3."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore import UNSIGNED
from botocore import exceptions as boto
from botocore.config import Config

from adasde.errors import StoreError
from adasde.storage.base import CHUNK, PATIENT, WORKERS, Entry, HashedFile, Patience, Store, checked_key
from adasde.storage.errors import explained
from adasde.utils.atomic_io import sha256_file
from adasde.utils.progress import Advance

PART = 32 << 20
"""Bytes of a part: larger files are uploaded in parts, in parallel, and downloaded in smaller ones."""

PARTS = 4
"""Parts of one file that are transferred in parallel."""

SHA256 = "sha256"
"""The metadata of an object that holds its checksum (``x-amz-meta-sha256``)."""

BROKEN = (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError)
"""A connection that broke while an object was being read: worth another attempt."""


class S3Store(Store):
    """Objects below a prefix of a bucket; endpoint, region and credentials by the variables of AWS.

    The SHA-256 of an object is in its metadata, so that both change at once. boto's own checksums protect
    uploads on their way to the server.

    Raises:
        StoreError: ``url`` is not ``s3://bucket/prefix``, or the variables of AWS cannot be used.
    """

    def __init__(self, url: str, *, patience: Patience = PATIENT, part: int = PART) -> None:
        address = re.fullmatch(r"[sS]3://([^/]+)(?:/(.*?))?/*", url, re.DOTALL)
        if address is None:
            raise StoreError(f"{url!r} is no address of a bucket: write s3://bucket/prefix.", kind="name")
        self.bucket, self.prefix = address[1], checked_key(address[2]) if address[2] else ""
        self.url = f"s3://{self.bucket}/{self.prefix}".rstrip("/")
        self.patience = patience
        self.endpoint = "the S3 endpoint"
        self._part, self._up, self._down = part, in_parts(part), in_parts(max(part // PARTS, 1))
        with self._explained("use"):
            self.client = make_client(patience)
            self.endpoint = self.client.meta.endpoint_url

    def put(self, source: Path, key: str, *, progress: Advance | None = None) -> str:
        place = self._place(key)
        with self._explained("store", key):
            before = source.stat()
            digest = sha256_file(source)
            self.client.upload_file(
                str(source), **place, ExtraArgs=_metadata(digest), Callback=progress, Config=self._up
            )
            after = source.stat()
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            raise StoreError(
                f"{source} changed while it was being stored as {self.where(key)}, which is refused from now "
                "on. Store it again when nothing writes to it any more.",
                kind="checksum",
            )
        return digest

    def write(self, key: str, data: bytes) -> None:
        place, digest = self._place(key), hashlib.sha256(data).hexdigest()
        with self._explained("store", key):
            self.client.put_object(**place, Body=data, **_metadata(digest))

    def list(self, prefix: str = "") -> Iterator[Entry]:
        start = f"{self.prefix}/" if self.prefix else ""
        with self._explained("list"):
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=start + prefix):
                for item in page.get("Contents", ()):
                    yield Entry(item["Key"].removeprefix(start), item["Size"])

    def exists(self, key: str) -> bool:
        place = self._place(key)
        with self._explained("look for", key):
            try:
                self.client.head_object(**place)
            except boto.ClientError as error:
                self._require_bucket()
                if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                    raise
                return False
        return True

    def delete(self, key: str) -> None:
        place = self._place(key)
        with self._explained("delete", key):
            self.client.delete_object(**place)

    def probes(self) -> Mapping[str, Callable[[], None]]:
        """Checks of the server: the endpoint answers, to these credentials, in this bucket."""

        def enter(*passing: str) -> None:
            try:
                with self._explained("enter"):
                    self._require_bucket()
            except StoreError as error:
                if error.kind not in passing:
                    raise

        return {
            "endpoint": self._reach,
            "credentials": lambda: enter("bucket", "denied"),
            "bucket": lambda: enter("denied"),  # the right to list is not needed here: later checks tell
        }

    def _reach(self) -> None:
        """Check that the endpoint responds, even with an error."""
        anonymous = make_client(self.patience, anonymous=True)
        with self._explained("reach"), suppress(boto.ClientError):
            anonymous.list_objects_v2(Bucket=self.bucket, MaxKeys=1)

    def _require_bucket(self) -> None:
        """Raise boto's error for a wrong bucket or wrong credentials: answers to HEAD give no reason."""
        self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)

    def _place(self, key: str) -> dict[str, str]:
        """Bucket and complete key of an object, as arguments of boto."""
        complete = f"{self.prefix}/{checked_key(key)}" if self.prefix else key
        return {"Bucket": self.bucket, "Key": checked_key(complete)}

    def _explained(self, doing: str, key: str = "") -> AbstractContextManager[None]:
        return explained(f"{doing} {self.where(key) if key else self.url}", endpoint=self.endpoint)

    def _fetch(self, key: str, file: HashedFile) -> Sequence[str]:
        for attempt in range(self.patience.attempts - 1):
            try:
                return self._fetch_once(key, file)
            except BROKEN:
                self.patience.pause(attempt)
                file.restart()
        return self._fetch_once(key, file)

    def _fetch_once(self, key: str, file: HashedFile) -> Sequence[str]:
        """As ``_fetch``: a small object in one answer, a large one in several of one version."""
        place = self._place(key)
        with self._explained("get", key):  # boto itself repeats these requests
            answer = self.client.get_object(**place)
        large = answer["ContentLength"] > self._part
        # as a context itself, the body would be urllib3's stream, which does not notice that it was cut short
        with closing(answer["Body"]) as body:
            if not large:
                shutil.copyfileobj(body, file, CHUNK)
        if large:
            with self._explained("get", key):
                self.client.download_fileobj(**place, Fileobj=file, Config=self._down)
        return [value for name, value in answer["Metadata"].items() if name.lower() == SHA256]


def _metadata(digest: str) -> dict[str, Any]:
    return {"Metadata": {SHA256: digest}}


def in_parts(size: int) -> TransferConfig:
    """boto3's settings for files of more than ``size`` bytes: parts of that size, ``PARTS`` in parallel."""
    config = TransferConfig(
        multipart_threshold=size + 1,
        multipart_chunksize=size,
        max_concurrency=PARTS,
        preferred_transfer_client="classic",
    )
    config.max_in_memory_download_chunks = PARTS  # parts that wait for an earlier one
    return config


def make_client(patience: Patience, *, anonymous: bool = False) -> Any:
    """boto3's S3 client, configured by the variables of AWS.

    Bodies are not signed, not even without TLS, where boto would hash them once more: the signed metadata
    has the SHA-256 of the complete object, and every read is compared with it.
    """
    config = Config(
        connect_timeout=patience.connect,
        read_timeout=patience.read,
        retries={"mode": "standard", "total_max_attempts": patience.attempts},
        max_pool_connections=WORKERS * PARTS,
        signature_version=UNSIGNED if anonymous else None,
        s3={"payload_signing_enabled": False},
    )
    return Session().client("s3", config=config)
