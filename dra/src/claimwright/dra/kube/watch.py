"""A running watch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import urllib3
from urllib3.exceptions import HTTPError

from claimwright.dra.kube.errors import KubeError, Unavailable, error_of

WatchEventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change; a BOOKMARK's object holds nothing but kind and metadata.resourceVersion."""

    type: WatchEventType
    object: dict[str, Any]


class Watch(Iterator[WatchEvent]):
    """Iterates over changes until the server ends the watch; `close` from any thread ends it at once.

    Raises Gone when the resource version is too old, and Unavailable when the connection breaks.
    """

    def __init__(self, response: urllib3.BaseHTTPResponse, *, what: str) -> None:
        self._response = response
        self._what = what
        self._lines = self._read_lines()
        self._closed = False

    def __next__(self) -> WatchEvent:
        try:
            return self._event(next(self._lines))
        except (HTTPError, OSError, ValueError, AttributeError) as error:
            if self._closed:
                raise StopIteration from None
            raise Unavailable(0, type(error).__name__, f"{self._what}: the stream broke: {error}") from error

    def close(self) -> None:
        """End the watch; a thread that waits in it sees the end of the iteration."""
        self._closed = True
        with suppress(ValueError, OSError, AttributeError, RuntimeError):  # the answer is over already
            self._response.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._response.close()

    def _read_lines(self) -> Iterator[bytes]:
        rest = b""
        for chunk in self._response.stream(amt=None):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line for line in lines if line)
        if rest and not self._closed:
            raise Unavailable(0, "Truncated", f"{self._what}: the stream ended inside an event")

    def _event(self, line: bytes) -> WatchEvent:
        event = json.loads(line)
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            raise error_of(int(item.get("code") or 500), json.dumps(item).encode(), what=self._what)
        if kind not in get_args(WatchEventType):
            raise KubeError(200, "UnknownEvent", f"{self._what}: unknown event type {kind!r}")
        return WatchEvent(kind, item)
