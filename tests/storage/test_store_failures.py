"""Exceptions of boto as messages that a user can act on."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
from boto3.exceptions import RetriesExceededError, S3UploadFailedError
from botocore import exceptions as boto
from botocore.exceptions import ClientError
from site_server import Quiet, served

from adasde.errors import DataError, StoreError
from adasde.storage.base import Patience
from adasde.storage.errors import REMEDIES, explained
from adasde.storage.s3 import S3Store

ENDPOINT = "http://127.0.0.1:9"


def answer(code: str, status: int = 400) -> ClientError:
    about = {"Error": {"Code": code, "Message": "said."}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(about, "PutObject")  # type: ignore[arg-type]


def wrapped() -> Exception:
    """As boto3's upload_file raises it."""
    try:
        try:
            raise answer("NoSuchBucket", 404)
        except ClientError as error:
            raise S3UploadFailedError(f"Failed to upload: {error}")  # noqa: B904
    except S3UploadFailedError as error:
        return error


def of_atomic(cause: OSError) -> DataError:
    error = DataError("cannot write it")
    error.__cause__ = cause
    return error


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/there")


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (answer("SignatureDoesNotMatch", 403), "credentials", ["(said)", "AWS_SECRET_ACCESS_KEY"]),
        (answer("InvalidAccessKeyId", 403), "credentials", ["AWS_ACCESS_KEY_ID"]),
        (answer("ExpiredToken"), "credentials", ["AWS_SESSION_TOKEN"]),
        (boto.NoCredentialsError(), "credentials", ["AWS_PROFILE"]),
        (boto.ProfileNotFound(profile="nobody"), "credentials", ["nobody", "AWS_PROFILE"]),
        (answer("AccessDenied", 403), "denied", ["the owner of the bucket"]),
        (answer("NoSuchBucket", 404), "bucket", ["Make it", "ADASDE_STORAGE_URL"]),
        (wrapped(), "bucket", ["Make it"]),
        (answer("NoSuchKey", 404), "missing", ["Check the name"]),
        (answer("AuthorizationHeaderMalformed"), "region", ["AWS_DEFAULT_REGION"]),
        (answer("RequestTimeTooSkewed", 403), "clock", ["clock"]),
        (answer("SlowDown", 503), "server", ["recovered"]),
        (answer("500", 500), "server", ["recovered"]),
        (answer("InsufficientStorage", 507), "space", ["quota"]),
        (answer("Strange"), "other", ["Strange", "adasde store check"]),
        (answer("BadDigest"), "checksum", ["damaged on the way"]),
        (answer("412", 412), "checksum", ["replaced at the same time"]),
        (boto.EndpointConnectionError(endpoint_url=ENDPOINT), "unreachable", ["AWS_ENDPOINT_URL_S3"]),
        (boto.ReadTimeoutError(endpoint_url=ENDPOINT), "unreachable", ["the server is up"]),
        (boto.ConnectionClosedError(endpoint_url=ENDPOINT), "unreachable", ["the server is up"]),
        (RetriesExceededError(boto.IncompleteReadError(actual_bytes=1, expected_bytes=2)), "unreachable", []),
        (boto.SSLError(endpoint_url=ENDPOINT, error="self-signed"), "tls", ["self-signed", "AWS_CA_BUNDLE"]),
        (of_atomic(boto.SSLError(endpoint_url=ENDPOINT, error="x")), "tls", ["AWS_CA_BUNDLE"]),
        (ValueError("Invalid endpoint: nonsense"), "name", ["nonsense", "http://host:port"]),
        (full(), "space", ["No space left on device (/there)", "free some space"]),
        (of_atomic(full()), "space", ["No space left on device (/there)", "free some space"]),
        (PermissionError(13, "Permission denied", "/there"), "other", ["Permission denied (/there)"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_failure_says_what_why_and_what_to_do(error: Exception, kind: str, words: list[str]) -> None:
    with pytest.raises(StoreError) as caught, explained("store s3://b/k", endpoint=ENDPOINT):
        raise error
    message = str(caught.value)
    assert caught.value.kind == kind
    assert message.startswith("cannot store s3://b/k: ")
    assert message.endswith(".") and ".." not in message and "\n" not in message
    assert all(word in message for word in words)
    if kind in ("unreachable", "server", "bucket"):
        assert ENDPOINT in message
        assert "What was there before is kept" in message


def test_what_is_no_failure_of_the_store_passes() -> None:
    with pytest.raises(ZeroDivisionError), explained("x", endpoint=ENDPOINT):
        raise ZeroDivisionError


def test_every_kind_is_described() -> None:
    described = StoreError.__doc__ or ""
    assert all(f"``{kind}``" in described for kind in REMEDIES)


class ShortAnswers(Quiet):
    """The API of S3 for one object, of which the first answers are cut short."""

    content = b"content" * 1000
    cuts: list[int]
    stored: str

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.send_header("x-amz-meta-sha256", self.stored)
        self.end_headers()
        self.wfile.write(self.content[: self.cuts.pop() if self.cuts else None])


@pytest.mark.parametrize("cuts", [0, 1, 2])
def test_an_answer_that_was_cut_short_is_requested_again(
    cuts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = hashlib.sha256(ShortAnswers.content).hexdigest()
    handler = type("Handler", (ShortAnswers,), {"cuts": [3000] * cuts, "stored": stored})
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setattr(Patience, "pause", lambda patience, attempt: None)
    moved: list[int] = []
    with served(handler) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        store = S3Store("s3://bucket", patience=Patience(attempts=2))
        if cuts == 2:
            with pytest.raises(StoreError, match="expected is 7000") as caught:
                store.get("key", tmp_path / "back")
            assert caught.value.kind == "unreachable" and list(tmp_path.iterdir()) == []
            return
        store.get("key", tmp_path / "back", progress=moved.append)  # type: ignore[arg-type]
    assert (tmp_path / "back").read_bytes() == ShortAnswers.content
    assert sum(moved) == 7000
