"""One HTTP request to the API server: urllib3 underneath, the room's errors on top."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError

from claimwright.dra.kube.credentials import Credentials
from claimwright.dra.kube.errors import KubeError, Unavailable, error_of

Query = Mapping[str, str | None]


class Transport:
    """A pool of keep-alive connections to one API server; thread-safe."""

    def __init__(self, credentials: Credentials, *, user_agent: str, timeout_seconds: float) -> None:
        self.credentials = credentials
        self.timeout_seconds = timeout_seconds
        self._user_agent = user_agent
        tls = {"ssl_context": credentials.tls} if credentials.tls else {}
        # A context that does not verify must not have its host name checked by urllib3 either.
        if credentials.tls and not credentials.tls.check_hostname:
            tls["assert_hostname"] = False  # type: ignore[assignment]
        self._pool = urllib3.PoolManager(maxsize=16, retries=False, **tls)  # type: ignore[arg-type]

    def send(
        self, method: str, path: str, *, query: Query | None = None, body: object = None, content: str = ""
    ) -> bytes:
        """Send one request and give the answer's body; raises KubeError."""
        response = self.open(method, path, query=query, body=body, content=content)
        try:
            return response.read()
        except HTTPError as error:
            raise _unreachable(f"{method} {path}", error) from error
        finally:
            response.release_conn()

    def open(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: object = None,
        content: str = "",
        read_seconds: float | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """Send one request and give the answer as a stream, which the caller releases; raises KubeError."""
        timeout = urllib3.Timeout(connect=self.timeout_seconds, read=read_seconds or self.timeout_seconds)
        try:
            response = self._pool.request(
                method,
                f"{self.credentials.server}{path}{_encode(query)}",
                body=None if body is None else json.dumps(body, separators=(",", ":")).encode(),
                headers=self._headers(content or "application/json", has_body=body is not None),
                timeout=timeout,
                preload_content=False,
                redirect=False,
            )
        except HTTPError as error:
            raise _unreachable(f"{method} {path}", error) from error
        if response.status >= 300:
            raise _refusal(response, f"{method} {path}")
        return response

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.clear()

    def _headers(self, content: str, *, has_body: bool) -> dict[str, str]:
        headers = {"User-Agent": self._user_agent, "Accept": "application/json"}
        if has_body:
            headers["Content-Type"] = content
        authorization = self.credentials.authorization()
        return {**headers, "Authorization": authorization} if authorization else headers


def _encode(query: Query | None) -> str:
    given = {key: value for key, value in (query or {}).items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _refusal(response: urllib3.BaseHTTPResponse, what: str) -> KubeError:
    try:
        body = response.read()
    except HTTPError:
        body = b""
    finally:
        response.release_conn()
    return error_of(response.status, body, what=what, retry_after=response.headers.get("Retry-After"))


def _unreachable(what: str, error: HTTPError) -> KubeError:
    cause = error.reason if isinstance(error, MaxRetryError) else error
    if isinstance(cause, SSLError):
        return KubeError(
            0, "TLS", f"{what}: TLS failed: {cause}; check certificate-authority and the client certificate"
        )
    return Unavailable(0, type(cause).__name__, f"{what}: no answer from the API server: {cause}")
