"""Files and repositories of the Hugging Face hub, through its own library."""

from __future__ import annotations

import re
from pathlib import Path

from adasde.errors import StoreError
from adasde.storage.base import checked_key
from adasde.storage.download import offline_by, require_online

ID = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:/([^@]+))?(?:@(.+))?")


def hub_copy(spec: str, folder: Path) -> Path:
    """Copy ``hf://org/name[/file][@revision]`` into ``folder``; the file, or the folder of the repository.

    An interrupted copy is carried on. HF_ENDPOINT names another hub, HF_TOKEN who asks; HF_HUB_OFFLINE takes
    what is there already.

    Raises:
        StoreError: it is no such address, is not there, may not be read or cannot be reached, or
            huggingface_hub is missing.
    """
    found = ID.fullmatch(spec)
    if found is None:
        raise StoreError(f"{spec!r}: write hf://org/name/file or hf://org/name/file@revision.", kind="name")
    name, file, revision = found.groups()
    try:
        from huggingface_hub import hf_hub_download, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise StoreError(
            f"{spec} needs {error.name}, which the plain package does not bring. Install it with: "
            "pip install 'adasde[models]'"
        ) from error
    if file is not None and (folder / checked_key(file)).is_file() and offline_by():
        return folder / file
    require_online(spec)
    try:
        if file is None:
            return Path(snapshot_download(name, revision=revision, local_dir=folder))
        return Path(hf_hub_download(name, file, revision=revision, local_dir=folder))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise _explained(spec, error) from error


def _explained(spec: str, error: Exception) -> StoreError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    kind = {401: "credentials", 403: "denied", 404: "missing"}.get(status or 0, "unreachable")
    remedy = {
        "credentials": "Check the name; if it is right, accept its terms on its page and set HF_TOKEN",
        "denied": "Accept its terms on its page, and set HF_TOKEN to a token of yours",
        "missing": "Check the name, the file and the revision",
    }.get(kind, "Check the network, and HF_ENDPOINT if you have set it")
    first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return StoreError(f"cannot get {spec} from the hub: {first}. {remedy}.", kind=kind)
