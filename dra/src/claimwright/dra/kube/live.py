"""Reading single objects on an event loop: no thread, no pool machinery, one kept connection per reader.

A prepare cannot be faster than its read of the claim. Through a thread and urllib3 that read costs 0.8 ms of
processor time, here 0.2 (measured; the API server's own share is not in it).
"""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from claimwright.dra.kube.credentials import Credentials
from claimwright.dra.kube.errors import KubeError, Unavailable, error_of
from claimwright.dra.kube.resources import Resource

_LONGEST_HEAD: Final = 256 * 1024


class LiveReader:
    """Gets objects for one event loop. Nothing is retried, but a kept connection that died is replaced."""

    def __init__(
        self, credentials: Credentials, *, user_agent: str, timeout_seconds: float, connections: int
    ) -> None:
        self._credentials = credentials
        self._user_agent = user_agent
        self._timeout_seconds = timeout_seconds
        self._server = urlsplit(credentials.server)
        self._turns = asyncio.Semaphore(connections)
        self._idle: list[_Connection] = []
        self._closed = False

    async def get(self, resource: Resource, name: str, *, namespace: str | None = None) -> dict[str, Any]:
        """Read one object as `Kube.get` does; raises NotFound, Unavailable and other KubeErrors."""
        path = resource.path(namespace, name)
        what = f"GET {path}"
        try:
            async with asyncio.timeout(self._timeout_seconds), self._turns:
                answer = await self._exchange(await self._request(path))
        except ssl.SSLError as error:
            text = f"{what}: TLS failed: {error}; check certificate-authority and the client certificate"
            raise KubeError(0, "TLS", text) from error
        except (OSError, EOFError) as error:
            reason = str(error) or f"{self._timeout_seconds:g} s passed"
            raise Unavailable(
                0, type(error).__name__, f"{what}: no answer from the API server: {reason}"
            ) from error
        except (ValueError, asyncio.LimitOverrunError) as error:
            raise KubeError(0, "NotHTTP", f"{what}: the answer is not HTTP/1.1: {error}") from error
        return _object(answer, what)

    async def close(self) -> None:
        """Close the idle connections; those in use are closed after their answer. Twice is fine."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()

    async def _request(self, path: str) -> bytes:
        authorization = self._credentials.authorization
        blocks = self._credentials.authorization_blocks
        bearer = await asyncio.to_thread(authorization) if blocks else authorization()
        lines = (
            f"GET {self._server.path}{path} HTTP/1.1",
            f"Host: {self._server.netloc}",
            f"User-Agent: {self._user_agent}",
            "Accept: application/json",
            *([f"Authorization: {bearer}"] if bearer else []),
        )
        return "\r\n".join((*lines, "", "")).encode("latin-1")

    async def _exchange(self, request: bytes) -> _Answer:
        kept = self._kept()
        if kept is not None:
            try:
                return await self._ask(kept, request)
            except (ConnectionError, EOFError):
                # The server may close a kept connection just as a request leaves (RFC 9112, 9.5).
                if kept.answering:
                    raise
        return await self._ask(await _Connection.open(self._server, self._credentials.tls), request)

    async def _ask(self, connection: _Connection, request: bytes) -> _Answer:
        try:
            answer = await connection.ask(request)
        except BaseException:
            connection.abort()
            raise
        if answer.last or self._closed:
            connection.abort()
        else:
            self._idle.append(connection)
        return answer

    def _kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.alive:
                return connection
            connection.abort()
        return None


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    retry_after: str | None
    body: bytes
    last: bool


class _Connection:
    """One connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.answering = False

    @classmethod
    async def open(cls, server: SplitResult, tls: ssl.SSLContext | None) -> _Connection:
        port = server.port or (443 if tls else 80)
        return cls(*await asyncio.open_connection(server.hostname, port, ssl=tls, limit=_LONGEST_HEAD))

    @property
    def alive(self) -> bool:
        return not (self._reader.at_eof() or self._writer.is_closing())

    async def ask(self, request: bytes) -> _Answer:
        self.answering = False
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        self.answering = True
        status, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        version, code, *_ = status.split(" ")
        if not version.startswith("HTTP/1."):
            raise ValueError(f"it begins with {status[:80]!r}")
        body, ended = await self._body(headers)
        last = ended or version == "HTTP/1.0" or headers.get("connection", "").lower() == "close"
        return _Answer(int(code), headers.get("retry-after"), body, last)

    async def _body(self, headers: dict[str, str]) -> tuple[bytes, bool]:
        """Read the body as RFC 9112, 6.3 frames it; says whether the connection's end was its end."""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return await self._chunks(), False
        if "content-length" in headers:
            return await self._reader.readexactly(int(headers["content-length"])), False
        return await self._reader.read(), True

    async def _chunks(self) -> bytes:
        chunks = []
        while size := int((await self._reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            chunks.append((await self._reader.readexactly(size + 2))[:-2])
        while await self._reader.readuntil(b"\r\n") != b"\r\n":
            """Trailers say nothing about an object."""
        return b"".join(chunks)

    def abort(self) -> None:
        self._writer.transport.abort()

    async def close(self) -> None:
        self.abort()
        try:
            await self._writer.wait_closed()
        except OSError:
            return  # broken before: just as closed


def _object(answer: _Answer, what: str) -> dict[str, Any]:
    if answer.status >= 300:
        raise error_of(answer.status, answer.body, what=what, retry_after=answer.retry_after)
    try:
        found = json.loads(answer.body)
    except ValueError as error:
        text = f"{what}: the answer is no JSON: {answer.body[:100]!r}"
        raise KubeError(answer.status, "NotJSON", text) from error
    if not isinstance(found, dict):
        text = f"{what}: the answer is no object: {answer.body[:100]!r}"
        raise KubeError(answer.status, "NotAnObject", text)
    return found
