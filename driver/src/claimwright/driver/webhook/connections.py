"""As much of HTTP/1.1 as an API server speaks: requests with a known length, kept alive, each within a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, TypeVar

Result = TypeVar("Result")
HEAD_BYTES: Final = 64 * 1024
# An object may have 1.5 MiB in etcd, and an update carries the old one as well; JSON is longer than protobuf.
BODY_BYTES: Final = 8 * 1024 * 1024
REQUEST_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 120.0


@dataclass(frozen=True)
class Request:
    """One request with its whole body; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


class BadRequest(Exception):
    """A request that cannot be read to its end; the connection closes after the answer."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.answer = Answer(status, f"{text}\n".encode())


class Connection:
    """One connection: it ends when the other side ends it, breaks the rules or is silent for too long.

    `idle` tells that no request is on its way, `closing` asks to end after the one that is.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: Callable[[Request], Answer],
        *,
        request_seconds: float = REQUEST_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._answer = answer
        self._request_seconds, self._idle_seconds = request_seconds, idle_seconds
        self.idle = True
        self.closing = False

    async def serve(self) -> None:
        """Answer requests one after the other."""
        while first := await _within(self._idle_seconds, self._reader.read(1)):
            self.idle = False
            found, last = await self._one(first)
            if found is None:
                return
            last = last or self.closing
            if not await send(self._writer, found, last=last, seconds=self._request_seconds) or last:
                return
            self.idle = True

    async def _one(self, first: bytes) -> tuple[Answer | None, bool]:
        """Return the answer to one request and whether it is the last; none when the other side went away."""
        try:
            async with asyncio.timeout(self._request_seconds):
                request = await _read(first, self._reader, self._writer)
        except BadRequest as error:
            return error.answer, True
        except TimeoutError:
            text = f"the request did not come within {self._request_seconds:g} s\n"
            return Answer(HTTPStatus.REQUEST_TIMEOUT, text.encode()), True
        except asyncio.IncompleteReadError:
            return None, True
        return self._answer(request), request.headers.get("connection", "").lower() == "close"


async def send(writer: asyncio.StreamWriter, answer: Answer, *, last: bool, seconds: float) -> bool:
    """Send one answer; False when the other side does not take it in time."""
    head = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\n"
        f"Content-Type: {answer.content_type}\r\nContent-Length: {len(answer.body)}\r\n"
        f"Connection: {'close' if last else 'keep-alive'}\r\n\r\n"
    )
    writer.write(head.encode() + answer.body)
    return await _within(seconds, _drained(writer)) is not None


async def _drained(writer: asyncio.StreamWriter) -> bool:
    await writer.drain()
    return True


async def _within(seconds: float, work: Awaitable[Result]) -> Result | None:
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        return None


async def _read(first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    method, path, headers = await _head(first, reader)
    if "transfer-encoding" in headers:
        raise BadRequest(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length; chunked bodies are not read")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal() and len(length) < 19):
        raise BadRequest(HTTPStatus.BAD_REQUEST, "Content-Length is no number")
    if int(length) > BODY_BYTES:
        raise BadRequest(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has {length} bytes, at most {BODY_BYTES} are read"
        )
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return Request(method, path, headers, await reader.readexactly(int(length)))


async def _head(first: bytes, reader: asyncio.StreamReader) -> tuple[str, str, Mapping[str, str]]:
    try:
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.LimitOverrunError:
        raise BadRequest(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the head is longer than {HEAD_BYTES} bytes"
        ) from None
    line, *fields = head.split("\r\n")[:-2]
    parts = line.split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(HTTPStatus.BAD_REQUEST, "expected a request line of HTTP/1.1")
    pairs = [field.partition(":") for field in fields]
    if any(not colon for _, colon, _ in pairs):
        raise BadRequest(HTTPStatus.BAD_REQUEST, "a header line has no colon")
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if parts[2] == "HTTP/1.0":
        headers["connection"] = "close"
    return parts[0], parts[1].partition("?")[0], headers
