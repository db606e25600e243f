"""The few questions that are asked of a Prefect server directly, without importing Prefect."""

from __future__ import annotations

import base64
import json
import os
import time
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request

from adasde.errors import AdaSDEError
from flows.servers.service import opener

PATIENCE = 60.0
"""Seconds that one answer may take, and that a busy server is asked again."""

BUSY = 503
"""The server's answer while its database is locked."""


class PrefectApi:
    """A Prefect server by the address of its API."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def get(self, path: str) -> Any:
        """The JSON at ``path``; None where there is nothing of that name.

        Raises:
            AdaSDEError: the server does not answer, or refuses.
        """
        return self._ask(Request(f"{self.url}/{path}", headers=_headers()))

    def post(self, path: str, body: Any) -> Any:
        """The JSON with which the server answers ``body``; None where there is nothing of that name.

        Raises:
            AdaSDEError: the server does not answer, or refuses.
        """
        headers = _headers() | {"Content-Type": "application/json"}
        return self._ask(Request(f"{self.url}/{path}", json.dumps(body).encode(), headers, method="POST"))

    def _ask(self, request: Request) -> Any:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return self._ask_once(request)
            except AdaSDEError as error:
                busy = isinstance(error.__cause__, HTTPError) and error.__cause__.code == BUSY
                if not busy or time.monotonic() > until:
                    raise
            time.sleep(1)

    def _ask_once(self, request: Request) -> Any:
        try:
            with opener(self.url).open(request, timeout=PATIENCE) as answer:
                return json.load(answer)
        except HTTPError as error:
            if error.code == 404:
                return None
            said = error.read(500).decode(errors="replace")
            raise AdaSDEError(f"Prefect refuses {request.full_url}: {error} {said}") from error
        except (OSError, ValueError) as error:
            raise AdaSDEError(f"Prefect at {self.url} does not answer: {error}") from error


def _headers() -> dict[str, str]:
    """What identifies us to a server that asks for it."""
    if key := os.environ.get("PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    if secret := os.environ.get("PREFECT_API_AUTH_STRING"):
        return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}
    return {}
