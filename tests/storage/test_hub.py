"""Files of the Hugging Face hub, from a hub of our own on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from site_server import Quiet, served

HUB = """
import sys
from pathlib import Path
from adasde.errors import StoreError
from adasde.storage import local_copy
try:
    print(local_copy(sys.argv[1], sys.argv[2]).read_bytes().decode())
except StoreError as error:
    print(error.kind, error)
"""


def from_hub(spec: str, folder: Path, **variables: str) -> str:
    environment = {
        **os.environ,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HOME": str(folder / "home"),
        **variables,
    }
    ended = subprocess.run(
        [sys.executable, "-c", HUB, spec, str(folder / "out")],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_the_hub_at_another_address(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")

    class Hub(Quiet):
        def do_HEAD(self) -> None:
            found = self.path == "/org/name/resolve/v1/a/x.json"
            self.send_response(200 if found else 404)
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", "7" if found else "0")
            if not found:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(b"content")

    with served(Hub) as address:
        assert from_hub("hf://org/name/a/x.json@v1", tmp_path, HF_ENDPOINT=address) == "content"
        said = from_hub("hf://org/name/lost@v1", tmp_path, HF_ENDPOINT=address)
        assert said.startswith("missing cannot get hf://org/name/lost@v1 from the hub: ")
    assert from_hub("hf://org/name/a/x.json@v1", tmp_path, ADASDE_OFFLINE="1") == "content"
    said = from_hub("hf://org/name/b", tmp_path, HF_HUB_OFFLINE="1")
    assert "the network may not be used" in said
    assert from_hub("hf://name", tmp_path).startswith("name 'hf://name': write hf://org/name/file")
