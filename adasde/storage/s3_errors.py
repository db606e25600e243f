"""What went wrong at an S3 server, why, and what to do: boto's exceptions in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from boto3.exceptions import Boto3Error
from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError
from s3transfer.exceptions import RetriesExceededError

from adasde.errors import DataError, StoreError
from adasde.storage.base import of_this_machine

OF_BOTO: tuple[type[Exception], ...] = (BotoCoreError, ClientError, Boto3Error, RetriesExceededError)
"""What boto raises."""

FAILURES: tuple[type[Exception], ...] = (*OF_BOTO, OSError, ValueError, DataError)
"""What boto and the system raise."""

CODES = {
    "NoSuchBucket": "bucket",
    "NoSuchKey": "missing",
    "404": "missing",
    "InvalidAccessKeyId": "credentials",
    "SignatureDoesNotMatch": "credentials",
    "ExpiredToken": "credentials",
    "InvalidToken": "credentials",
    "TokenRefreshRequired": "credentials",
    "AuthorizationHeaderMalformed": "region",
    "PermanentRedirect": "region",
    "301": "region",
    "IllegalLocationConstraintException": "region",
    "RequestTimeTooSkewed": "clock",
    "AccessDenied": "denied",
    "AllAccessDisabled": "denied",
    "AccountProblem": "denied",
    "403": "denied",
    "BadDigest": "checksum",
    "InvalidDigest": "checksum",
    "XAmzContentSHA256Mismatch": "checksum",
    "PreconditionFailed": "checksum",
    "412": "checksum",
    "EntityTooLarge": "space",
    "InsufficientStorage": "space",
    "QuotaExceeded": "space",
    "InvalidBucketName": "name",
    "KeyTooLongError": "name",
}
"""Error code or HTTP status of the server -> kind (see ``StoreError``)."""

CLASSES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (boto.SSLError, "tls"),
    ((boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError), "unreachable"),
    (
        (
            boto.NoCredentialsError,
            boto.PartialCredentialsError,
            boto.CredentialRetrievalError,
            boto.TokenRetrievalError,
            boto.NoAuthTokenError,
            boto.ProfileNotFound,
        ),
        "credentials",
    ),
    (boto.FlexibleChecksumError, "checksum"),
    ((boto.ParamValidationError, boto.InvalidRegionError, ValueError), "name"),
)
"""Exceptions without an answer of the server, the special before the general."""

REMEDIES = {
    "unreachable": "Check that the server is up and that AWS_ENDPOINT_URL_S3 is its address",
    "tls": "If its certificate is signed by an authority of your own, name that authority's file in "
    "AWS_CA_BUNDLE; otherwise check that AWS_ENDPOINT_URL_S3 says https or http as the server does",
    "server": "Wait until the server has recovered; its own log says what ails it",
    "credentials": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN if they are "
    "temporary), or AWS_PROFILE, to those of this server",
    "denied": "The credentials are known but may not do this: let the owner of the bucket allow them to "
    "list it and to read, write and delete in it, or use others",
    "bucket": "Make it with your server's tools, or name another in ADASDE_STORAGE_URL or in storage.url "
    "of params.yaml",
    "region": "Set AWS_DEFAULT_REGION to the region of the bucket",
    "clock": "Set the clock of this machine right",
    "missing": "Check the name, and the storage that it is looked for in (ADASDE_STORAGE_URL, or storage.url "
    "in params.yaml)",
    "checksum": "It was damaged on the way, or replaced at the same time: run the same command again",
    "space": "Free some space there, or raise the quota",
    "name": "Check ADASDE_STORAGE_URL (s3://bucket/prefix) and AWS_ENDPOINT_URL_S3 (http://host:port or "
    "https://host)",
    "other": "'adasde store check' tells what works and what does not",
}
"""Kind -> what to do."""

KEPT = "What was there before is kept; run the same again afterwards."


@contextmanager
def explained(doing: str, *, endpoint: str) -> Iterator[None]:
    """Turn what boto and the system raise into a StoreError; ``doing`` completes "cannot ...".

    Raises:
        StoreError: the block failed; of the kind that a program may go by.
    """
    try:
        yield
    except FAILURES as error:
        raise explanation(error, doing, endpoint=endpoint) from error


def explanation(error: Exception, doing: str, *, endpoint: str) -> StoreError:
    """The error for users: what was being done, why it failed, what to do."""
    cause = _cause(error)
    if isinstance(cause, OSError) and not isinstance(cause, BotoCoreError):
        return of_this_machine(cause, doing)
    kind, why = _judged(cause, endpoint)
    kept = "" if kind in ("missing", "name") else f" {KEPT}"
    return StoreError(f"cannot {doing}: {why}. {REMEDIES[kind]}.{kept}", kind=kind)


def _cause(error: BaseException) -> BaseException:
    """What boto3 wrapped."""
    inner = getattr(error, "last_exception", None)
    if inner is None and isinstance(error, Boto3Error | DataError):
        inner = error.__cause__ or error.__context__
    return error if inner is None else _cause(inner)


def _judged(cause: BaseException, endpoint: str) -> tuple[str, str]:
    """(kind, why)."""
    if isinstance(cause, ClientError):
        about = cause.response.get("Error", {})
        status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = str(about.get("Code", status))
        kind = CODES.get(code) or CODES.get(str(status)) or ("server" if status >= 500 else "other")
        if status == 507:
            kind = "space"
        said = about.get("Message") or "no further words"
        return kind, f"{endpoint} answers {code} ({str(said).rstrip('.')})"
    kind = next((kind for classes, kind in CLASSES if isinstance(cause, classes)), "other")
    said = str(cause).rstrip(".")
    return kind, f"{endpoint} cannot be reached ({said})" if kind == "unreachable" else said
