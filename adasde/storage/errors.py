"""Failures of stores and transfers as ``StoreError``: what failed, why, and what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from adasde.errors import DataError, StoreError

FAILURES = {
    "unreachable": (
        "ConnectionError HTTPClientError IncompleteReadError",
        "Check that the server is up and that AWS_ENDPOINT_URL_S3 is its address",
    ),
    "tls": (
        "SSLError",
        "If a private authority signed the server's certificate, set AWS_CA_BUNDLE to the file of that "
        "authority; otherwise check that AWS_ENDPOINT_URL_S3 begins with https or http as the server does",
    ),
    "server": (
        "408 425 429 500 502 503 504",
        "Wait until the server has recovered; its own log has the details",
    ),
    "credentials": (
        "InvalidAccessKeyId SignatureDoesNotMatch ExpiredToken InvalidToken TokenRefreshRequired 401 "
        "NoCredentialsError PartialCredentialsError CredentialRetrievalError TokenRetrievalError "
        "NoAuthTokenError ProfileNotFound",
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN if they are temporary), or "
        "AWS_PROFILE, to those of this server",
    ),
    "denied": (
        "AccessDenied AllAccessDisabled AccountProblem 403",
        "The credentials are valid but lack permission: ask the owner of the bucket for the right to list it "
        "and to read, write and delete in it, or use others",
    ),
    "bucket": (
        "NoSuchBucket",
        "Make it with your server's tools, or name another in ADASDE_STORAGE_URL or in storage.url of "
        "params.yaml",
    ),
    "region": (
        "AuthorizationHeaderMalformed PermanentRedirect IllegalLocationConstraintException 301",
        "Set AWS_DEFAULT_REGION to the region of the bucket",
    ),
    "clock": ("RequestTimeTooSkewed", "Set the clock of this machine right"),
    "missing": (
        "NoSuchKey 404 410",
        "Check the name, and the storage that it is looked for in (ADASDE_STORAGE_URL, or storage.url in "
        "params.yaml)",
    ),
    "checksum": (
        "BadDigest InvalidDigest XAmzContentSHA256Mismatch PreconditionFailed 412 FlexibleChecksumError",
        "It was damaged on the way, or replaced at the same time: run the same command again",
    ),
    "space": (
        "EntityTooLarge InsufficientStorage QuotaExceeded 507",
        "Free some space there, or raise the quota",
    ),
    "name": (
        "InvalidBucketName KeyTooLongError ParamValidationError InvalidRegionError ValueError",
        "Check ADASDE_STORAGE_URL (s3://bucket/prefix) and AWS_ENDPOINT_URL_S3 (http://host:port or "
        "https://host)",
    ),
    "other": ("", "'adasde store check' shows what works and what does not"),
}
"""Kind (see ``StoreError``) -> its error codes, HTTP statuses and exceptions of boto, and what to do."""

KINDS = {name: kind for kind, (names, _) in FAILURES.items() for name in names.split()}
REMEDIES = {kind: remedy for kind, (_, remedy) in FAILURES.items()}

KEPT = "What was there before is kept"


@contextmanager
def explained(doing: str, *, endpoint: str = "", boto_alone: bool = False) -> Iterator[None]:
    """Turn failures of boto and, unless ``boto_alone``, of the system inside the block into a StoreError.

    ``doing`` completes "cannot ..."; ``endpoint`` is the address of the server, if there is one.

    Raises:
        StoreError: the block failed; its ``kind`` is what a program may go by.
    """
    try:
        yield
    except Exception as error:
        cause = _cause(error)
        if _is_boto(cause) or (endpoint and isinstance(cause, ValueError) and not boto_alone):
            raise _of_server(cause, doing, endpoint) from error
        if isinstance(cause, OSError) and not boto_alone:
            raise system_failure(cause, doing) from error
        raise


def explained_s3(doing: str) -> AbstractContextManager[None]:
    """``explained`` for boto inside another program, such as MLflow, with the endpoint of its variables."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "the server"
    return explained(doing, endpoint=endpoint, boto_alone=True)


def _is_boto(error: BaseException) -> bool:
    """Whether boto raised it (by name: boto is optional)."""
    modules = {cls.__module__.partition(".")[0] for cls in type(error).__mro__}
    return not modules.isdisjoint({"boto3", "botocore", "s3transfer"})


def _cause(error: BaseException) -> BaseException:
    """The failure that boto3 or ``atomic`` wrapped."""
    inner: BaseException | None = getattr(error, "last_exception", None)
    wraps = isinstance(error, DataError) or type(error).__module__ == "boto3.exceptions"
    if inner is None and wraps:
        inner = error.__cause__ or error.__context__
    return error if inner is None else _cause(inner)


def _of_server(cause: BaseException, doing: str, endpoint: str) -> StoreError:
    answer = getattr(cause, "response", None)
    if isinstance(answer, Mapping):  # botocore's ClientError
        about = answer.get("Error", {})
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = str(about.get("Code", status))
        kind = KINDS.get(code) or KINDS.get(str(status)) or ("server" if status >= 500 else "other")
        reason = str(about.get("Message") or "no further details").rstrip(".")
        why = f"{endpoint} answers {code} ({reason})"
    else:
        names = (cls.__name__ for cls in type(cause).__mro__)
        kind = next((KINDS[name] for name in names if name in KINDS), "other")
        why = str(cause).rstrip(".")
        if kind == "unreachable":
            why = f"{endpoint} cannot be reached ({why})"
    kept = "" if kind in ("missing", "name") else f" {KEPT}; run the same command again afterwards."
    return StoreError(f"cannot {doing}: {why}. {REMEDIES[kind]}.{kept}", kind=kind)


def system_failure(cause: OSError, doing: str) -> StoreError:
    """The error for an operation that the system refused; ``doing`` completes "cannot ..."."""
    full = cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    named = f" ({cause.filename})" if cause.filename else ""
    remedy = "free some space" if full else "fix that"
    return StoreError(
        f"cannot {doing}: {cause.strerror or cause}{named}. {KEPT}; {remedy}, then run the same command "
        "again.",
        kind="space" if full else "other",
    )


def missing(where: str) -> StoreError:
    """The error for an object that is not there."""
    return StoreError(f"{where} is not there. {REMEDIES['missing']}.", kind="missing")


def altered(where: str, found: str, known: str) -> StoreError:
    """The error for an object whose SHA-256 is ``found`` where ``known`` was stored with it."""
    return StoreError(
        f"{where} is damaged or was altered by another program: its sha256 is {found[:12]}…, expected "
        f"{known[:12]}…. Nothing was taken from it: store the object again.",
        kind="checksum",
    )


def unsealed(where: str) -> StoreError:
    """The error for an object that has no checksum."""
    return StoreError(
        f"{where} has no checksum: another program stored it, or replaced what was there. Nothing was taken "
        "from it: store the object again with adasde.",
        kind="checksum",
    )


def needs(spec: str, package: str | None, extra: str) -> StoreError:
    """The error for an address that needs a package which is not installed."""
    return StoreError(
        f"{spec} needs {package}, which the plain package does not include. Install it with: "
        f"pip install 'adasde[{extra}]'"
    )


def one_line(error: BaseException) -> str:
    """The message of an exception without line breaks and final full stop."""
    return " ".join(str(error).split()).rstrip(".")
