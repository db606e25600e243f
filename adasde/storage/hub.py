"""Files and repositories of the Hugging Face hub, through its own library."""

from __future__ import annotations

import re
from pathlib import Path

from adasde.errors import StoreError
from adasde.storage.base import checked_key
from adasde.storage.download import offline_by, require_online
from adasde.storage.errors import needs

ID = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:/([^@]+))?(?:@(.+))?")

ANSWERS = {
    401: ("credentials", "Check the name; if it is right, accept its terms on its page and set HF_TOKEN"),
    403: ("denied", "Accept its terms on its page, and set HF_TOKEN to a token of yours"),
    404: ("missing", "Check the name, the file and the revision"),
}
"""HTTP status -> kind of the error, and what to do."""

NO_ANSWER = ("unreachable", "Check the network, and HF_ENDPOINT if you have set it")


def hub_copy(spec: str, folder: Path) -> Path:
    """Copy ``hf://org/name[/file][@revision]`` into ``folder``; the file, or the folder of the repository.

    An interrupted copy resumes. HF_ENDPOINT names another hub, HF_TOKEN authenticates; HF_HUB_OFFLINE uses
    files that are there already.

    Raises:
        StoreError: the address is malformed, missing, forbidden or unreachable, or huggingface_hub is
            not installed.
    """
    found = ID.fullmatch(spec)
    if found is None:
        raise StoreError(f"{spec!r}: write hf://org/name/file or hf://org/name/file@revision.", kind="name")
    name, file, revision = found.groups()
    try:
        from huggingface_hub import hf_hub_download, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise needs(spec, error.name, "models") from error
    if file is not None and (folder / checked_key(file)).is_file() and offline_by():
        return folder / file
    require_online(spec)
    try:
        if file is None:
            return Path(snapshot_download(name, revision=revision, local_dir=folder))
        return Path(hf_hub_download(name, file, revision=revision, local_dir=folder))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        status = getattr(getattr(error, "response", None), "status_code", 0)
        kind, remedy = ANSWERS.get(status, NO_ANSWER)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise StoreError(f"cannot get {spec} from the hub: {reason}. {remedy}.", kind=kind) from error
