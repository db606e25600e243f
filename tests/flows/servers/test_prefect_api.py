from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from site_server import Quiet, served

from adasde.errors import AdaSDEError
from flows.servers.prefect_api import PrefectApi
from flows.servers.service import free_port


class Server(Quiet):
    """Responds to a path with a status and a body."""

    answers: ClassVar = {
        "/api/admin/version": (200, b'"3"'),
        "/api/text": (200, b"hello"),
        "/api/no": (500, b"why"),
    }

    def do_GET(self) -> None:
        status, body = self.answers.get(self.path, (404, b"{}"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrefectApi]:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")  # which does not answer
    with served(Server) as url:
        yield PrefectApi(f"{url}/api/")


def test_json_at_a_path_and_nothing_elsewhere(api: PrefectApi) -> None:
    assert api.get("admin/version") == "3"
    assert api.get("gone") is None


def test_refusals_are_explained(api: PrefectApi) -> None:
    with pytest.raises(AdaSDEError, match=r"Prefect refuses http://.*/api/no: 500 Internal Server Error why"):
        api.get("no")
    with pytest.raises(AdaSDEError, match="does not answer"):
        api.get("text")


def test_a_server_that_is_down() -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    with pytest.raises(AdaSDEError, match=f"Prefect at {url} does not answer: .*refused"):
        PrefectApi(url).get("admin/version")
