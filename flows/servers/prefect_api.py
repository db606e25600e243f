"""Requests to a Prefect server by path, through Prefect's own client, which the first request imports."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

from adasde.errors import AdaSDEError
from flows.servers.service import is_local

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


class PrefectApi:
    """A Prefect server by the address of its API; credentials come from Prefect's settings."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    @cached_property
    def client(self) -> SyncPrefectClient:
        """Prefect's client, which repeats requests that a busy server has refused."""
        from prefect.client.orchestration import SyncPrefectClient
        from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY

        return SyncPrefectClient(
            self.url,
            api_key=PREFECT_API_KEY.value(),
            auth_string=PREFECT_API_AUTH_STRING.value(),
            httpx_settings={"trust_env": not is_local(self.url)},  # no proxy on this machine
        )

    def get(self, path: str) -> Any:
        """JSON at ``path``; None if the server has nothing there.

        Raises:
            AdaSDEError: the server does not answer, or refuses.
        """
        return self._request("GET", path)

    def post(self, path: str, body: Any) -> Any:
        """JSON answer to ``body``; None if the server has nothing at ``path``.

        Raises:
            AdaSDEError: the server does not answer, or refuses.
        """
        return self._request("POST", path, json=body)

    def _request(self, method: Literal["GET", "POST"], path: str, **body: Any) -> Any:
        client = self.client
        from httpx import HTTPError, HTTPStatusError

        try:
            return client.request(method, cast(Any, f"/{path}"), **body).json()
        except HTTPStatusError as error:
            answer = error.response
            if answer.status_code == 404:
                return None
            reason = f"{answer.status_code} {answer.reason_phrase} {answer.text[:500]}"
            raise AdaSDEError(f"Prefect refuses {answer.url}: {reason}") from error
        except (HTTPError, OSError, ValueError) as error:
            raise AdaSDEError(f"Prefect at {self.url} does not answer: {error}") from error
