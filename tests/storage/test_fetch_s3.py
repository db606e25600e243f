"""Checkpoints from a bucket of a real S3 server: complete, or nothing and a reason; also on a full disk."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest
from command import adasde, explained
from tiny import tiny_values, write_params

from adasde.models.core.checkpoint import weights_folder
from adasde.storage.s3 import S3Store
from adasde.utils.atomic_io import sha256_file

pytestmark = pytest.mark.integration

PACKAGED = weights_folder() / "digits"


@pytest.fixture
def project(bucket_url: str, tmp_path: Path) -> Path:
    """A folder whose params.yaml names a checkpoint in the bucket."""
    url = f"{bucket_url}/my models/digits"
    S3Store(url).put_many({path.name: path for path in PACKAGED.iterdir()})
    write_params(tmp_path, tiny_values() | {"model": url})
    return tmp_path


def full_disk() -> None:
    """Every file of this process ends after 20 kB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))


def test_after_a_full_disk_the_same_command_brings_it(project: Path) -> None:
    ended = adasde(["fetch"], project, before=full_disk)
    explained(ended, "cannot get s3://", "File too large", "free some space")
    assert not (project / "data/checkpoint").exists()
    assert adasde(["fetch"], project).code == 0
    for path in PACKAGED.iterdir():
        assert sha256_file(project / "data/checkpoint" / path.name) == sha256_file(path)


def test_an_object_that_was_replaced_is_refused(project: Path, bucket_url: str) -> None:
    S3Store(f"{bucket_url}/my models/digits").write("model.safetensors", b"x")
    explained(adasde(["fetch"], project), "model.safetensors")
    assert not (project / "data/checkpoint").exists()
