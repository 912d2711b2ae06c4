"""The HTTP side of the fake API: requests taken in, faults before they count, answers and watch streams."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

from claimwright.dra.testing.faults import Fault
from claimwright.dra.testing.objects import Object, Refused
from claimwright.dra.testing.store import Store
from claimwright.dra.testing.verbs import Mutate, Request, answer


@dataclass(frozen=True)
class Service:
    """What the handlers of one server share: they note `requests` and obey `faults`."""

    store: Store
    mutate: Mutate
    faults: list[Fault]
    requests: list[tuple[str, str]]


def handler_of(served: Service) -> type[BaseHTTPRequestHandler]:
    """Give the class of the handlers of one server."""

    class Handler(_Handler):
        service = served

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or an event of a watch waits for the acknowledgement of the one before
    service: ClassVar[Service]

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, format: str, *_args: object) -> None:  # noqa: A002
        """Say nothing."""

    def handle_one_request(self) -> None:
        """Serve, and let a client that went away be."""
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def _serve(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.service.requests.append((self.command, self.path))
        fault = next((item for item in self.service.faults if item.hits(self.command, self.path)), None)
        if fault is not None:
            self._fail(fault)
            return
        try:
            self._route(_body(data))
        except Refused as refused:
            self._send(refused.status, refused.as_object())

    def _route(self, body: Object) -> None:
        if self.path == "/version":
            self._send(200, {"major": "1", "minor": "37"})
            return
        request = Request.parse(self.path, body, self.headers.get("Content-Type", ""))
        if request.query.get("watch") in ("true", "1"):
            self._watch(request)
        else:
            self._send(*answer(self.command, self.service.store, request, self.service.mutate))

    def _fail(self, fault: Fault) -> None:
        if not fault.status:
            self.close_connection = True
            self.connection.close()
            return
        pause = {"Retry-After": fault.retry_after} if fault.retry_after else {}
        self._send(fault.status, Refused(fault.status, fault.reason, "injected").as_object(), pause)

    def _watch(self, request: Request) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in self._lines(request):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.write(b"0\r\n\r\n")

    def _lines(self, request: Request) -> Iterator[bytes]:
        after = int(request.query.get("resourceVersion") or 0)
        seconds = float(request.query.get("timeoutSeconds") or 300)
        try:
            for event in self.service.store.follow(request.selection, after, seconds):
                yield _line(event.type, event.item)
        except Refused as refused:  # an API server answers 200 first here, too
            yield _line("ERROR", refused.as_object())

    def _send(self, status: int, item: Object, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(item).encode()
        fields = {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        # One packet, as from a real API server: the client wakes once, and latencies are measured here.
        self.wfile.write(f"HTTP/1.1 {status} \r\n{head}\r\n".encode() + data)


def _line(kind: str, item: Object) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def _body(data: bytes) -> Object:
    try:
        body = json.loads(data) if data else {}
    except ValueError as error:
        raise Refused(400, "BadRequest", f"the body is no JSON: {data[:100]!r}") from error
    if not isinstance(body, dict):
        raise Refused(400, "BadRequest", f"the body is no object: {data[:100]!r}")
    return body
