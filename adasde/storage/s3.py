"""A bucket of an S3-compatible server as a store. Imported where such a store is opened: needs boto3."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore import UNSIGNED
from botocore import exceptions as boto
from botocore.config import Config

from adasde.errors import StoreError
from adasde.storage.base import (
    CHUNK,
    PATIENT,
    WORKERS,
    Entry,
    Patience,
    Store,
    altered,
    checked_key,
    unsealed,
)
from adasde.storage.resolve import checked_url
from adasde.storage.s3_errors import explained
from adasde.utils.atomic_io import atomic, sha256_file
from adasde.utils.progress import Advance

PART = 32 << 20
"""Bytes of a part; what is larger goes up in parts, several at once, and comes down in smaller ones."""

PARTS = 4
"""Manifest of one file that are under way at once."""

SHA256 = "sha256"
"""The metadata of an object that holds its checksum (``x-amz-meta-sha256``)."""

BROKEN = (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError)
"""A connection that broke while an object was being read: it may pass."""

T = TypeVar("T")


class S3Store(Store):
    """Objects below a prefix of a bucket; endpoint, region and credentials by the variables of AWS.

    The SHA-256 of an object is in its metadata, so both change at once. boto's own checksums protect the
    way to the server.

    Raises:
        StoreError: ``url`` is not ``s3://bucket/prefix``, or the variables of AWS cannot be used.
    """

    def __init__(self, url: str, *, patience: Patience = PATIENT, part: int = PART) -> None:
        self.bucket, self.prefix = split_url(url)
        self.url = f"s3://{self.bucket}/{self.prefix}".rstrip("/")
        self.patience = patience
        self.endpoint = "the S3 endpoint"
        self._part, self._up, self._down = part, in_parts(part), in_parts(max(part // PARTS, 1))
        with self._explained("use", self.url):
            self.client = make_client(patience)
            self.endpoint = self.client.meta.endpoint_url

    def put(self, source: Path, key: str, *, progress: Advance | None = None) -> str:
        """Store a file (see ``Store``); in parts if it is large, and there only once the last has come."""
        place = self._place(key)
        with self._explained("store", self.where(key)):
            before = source.stat()
            digest = sha256_file(source)
            self.client.upload_file(
                str(source),
                Bucket=self.bucket,
                Key=place,
                ExtraArgs={"Metadata": {SHA256: digest}},
                Callback=progress,
                Config=self._up,
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
        """Store few bytes (see ``Store``)."""
        place, digest = self._place(key), hashlib.sha256(data).hexdigest()
        with self._explained("store", self.where(key)):
            self.client.put_object(Bucket=self.bucket, Key=place, Body=data, Metadata={SHA256: digest})

    def get(
        self, key: str, target: Path, *, progress: Advance | None = None, unchecked: bool = False
    ) -> None:
        """Write an object to a file (see ``Store``)."""
        with self._explained("get", self.where(key)), atomic(target) as temporary:
            found, known = self._unbroken(lambda: self._download(key, temporary, progress))
            self._check(key, found, known, unchecked=unchecked)

    def read(self, key: str) -> bytes:
        """The bytes of an object (see ``Store``)."""

        def load() -> tuple[bytes, str | None]:
            answer = self._open(key)
            return answer["Body"].read(), _known(answer)

        with self._explained("read", self.where(key)):
            data, known = self._unbroken(load)
        self._check(key, hashlib.sha256(data).hexdigest(), known, unchecked=False)
        return data

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """The objects whose keys begin with ``prefix`` (see ``Store``)."""
        start = f"{self.prefix}/" if self.prefix else ""
        with self._explained("list", self.url):
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=start + prefix):
                for item in page.get("Contents", ()):
                    yield Entry(item["Key"].removeprefix(start), item["Size"])

    def exists(self, key: str) -> bool:
        """Whether there is an object."""
        place = self._place(key)
        with self._explained("look for", self.where(key)):
            try:
                self.client.head_object(Bucket=self.bucket, Key=place)
            except boto.ClientError as error:
                self._require_bucket()
                if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                    raise
                return False
        return True

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        place = self._place(key)
        with self._explained("delete", self.where(key)):
            self.client.delete_object(Bucket=self.bucket, Key=place)

    def probes(self) -> Mapping[str, Callable[[], None]]:
        """What must work before anything else: the endpoint answers, these credentials, in this bucket."""

        def enter(*passing: str) -> None:
            try:
                with self._explained("enter", self.url):
                    self._require_bucket()
            except StoreError as error:
                if error.kind not in passing:
                    raise

        return {
            "endpoint": self._reach,
            "credentials": lambda: enter("bucket", "denied"),
            "bucket": lambda: enter("denied"),  # it may be used without being listed: others tell
        }

    def _reach(self) -> None:
        """See that something answers, be it no."""
        anonymous = make_client(self.patience, anonymous=True)
        with self._explained("reach", self.url), suppress(boto.ClientError):
            anonymous.list_objects_v2(Bucket=self.bucket, MaxKeys=1)

    def _place(self, key: str) -> str:
        """The whole key of an object in the bucket."""
        return checked_key(f"{self.prefix}/{checked_key(key)}" if self.prefix else key)

    def _explained(self, doing: str, where: str) -> AbstractContextManager[None]:
        return explained(f"{doing} {where}", endpoint=self.endpoint)

    def _require_bucket(self) -> None:
        """Raise boto's error where bucket or credentials are wrong: an answer to HEAD does not tell why."""
        self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)

    def _open(self, key: str) -> dict[str, Any]:
        """The answer to GET, its body not yet read."""
        with self._explained("get", self.where(key)):
            return self.client.get_object(Bucket=self.bucket, Key=self._place(key))

    def _download(self, key: str, target: Path, progress: Advance | None) -> tuple[str, str | None]:
        """Write an object to ``target``; its SHA-256, and that which was stored with it.

        A small one comes in one answer; a large one in several that the server pins to one version.
        """
        answer = self._open(key)
        body, known = answer["Body"], _known(answer)
        if answer["ContentLength"] > self._part:
            body.close()
            with self._explained("get", self.where(key)), target.open("wb") as opened:
                hashing = Hashing(opened)
                self.client.download_fileobj(
                    self.bucket, self._place(key), hashing, Callback=progress, Config=self._down
                )
            return hashing.digest.hexdigest(), known
        digest, moved = hashlib.sha256(), 0
        try:
            with target.open("wb") as writer:
                while chunk := body.read(CHUNK):
                    writer.write(chunk)
                    digest.update(chunk)
                    moved += len(chunk)
                    if progress is not None:
                        progress(len(chunk))
        except BROKEN:
            if progress is not None:
                progress(-moved)
            raise
        return digest.hexdigest(), known

    def _unbroken(self, once: Callable[[], T]) -> T:
        """``once()``, again where the connection broke in the middle of an answer."""
        for attempt in range(self.patience.attempts - 1):
            try:
                return once()
            except BROKEN:
                self.patience.pause(attempt)
        return once()

    def _check(self, key: str, found: str, known: str | None, *, unchecked: bool) -> None:
        if known is None and not unchecked:
            raise unsealed(self.where(key))
        if known not in (None, found):
            raise altered(self.where(key), found, str(known))


class Hashing:
    """A file to write to from its beginning to its end, hashed on the way.

    It cannot seek, by which boto3 knows that parts must come in their order, whichever is there first.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self._file = file

    def write(self, data: bytes) -> int:
        """The next bytes."""
        self.digest.update(data)
        return self._file.write(data)


def _known(answer: dict[str, Any]) -> str | None:
    """The checksum in the metadata of an answer."""
    return {name.lower(): value for name, value in answer["Metadata"].items()}.get(SHA256)


def split_url(url: str) -> tuple[str, str]:
    """``s3://bucket/some/prefix`` -> (bucket, prefix); StoreError where the prefix cannot be one."""
    bucket, _, prefix = checked_url(url).partition("://")[2].rstrip("/").partition("/")
    return bucket, checked_key(prefix) if prefix else ""


def in_parts(size: int) -> TransferConfig:
    """How boto3 moves files of more than ``size`` bytes: in parts of that size, ``PARTS`` at once."""
    config = TransferConfig(
        multipart_threshold=size + 1,
        multipart_chunksize=size,
        max_concurrency=PARTS,
        preferred_transfer_client="classic",
    )
    config.max_in_memory_download_chunks = PARTS  # that wait for one that comes before them
    return config


def make_client(patience: Patience, *, anonymous: bool = False) -> Any:
    """boto3's S3 client as the variables of AWS say.

    Bodies are not signed, also without TLS, where boto would hash them once more: the signed metadata has
    the SHA-256 of the whole, and every read is compared with it.
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
