"""The HTTP endpoint for Prometheus and for people: metrics and /healthz."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Mapping

from claimwright.driver.errors import NodeUnusable
from claimwright.driver.settings import parse_endpoint

_TEXT = "text/plain; version=0.0.4; charset=utf-8"
# Gives a status and a text each time that it is asked for.
Page = Callable[[], tuple[int, bytes]]


class HttpEndpoint:
    """Serves in a thread; scrapes never touch the event loop."""

    def __init__(
        self,
        endpoint: str,
        metrics_path: str,
        exposition: Callable[[], bytes],
        *,
        pages: Mapping[str, Page] | None = None,
    ) -> None:
        host, port = parse_endpoint(endpoint) or ("", 0)
        served: dict[str, Page] = {"/healthz": lambda: (200, b"ok\n"), **(pages or {})}
        if metrics_path:
            served[metrics_path] = lambda: (200, exposition())
        try:
            self._server = http.server.ThreadingHTTPServer((host, port), _handler(served))
        except OSError as error:
            raise NodeUnusable(
                f"--http-endpoint {endpoint}: cannot listen there: {error.strerror}; choose another port"
            ) from error
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()


def _handler(pages: Mapping[str, Page]) -> type[http.server.BaseHTTPRequestHandler]:
    known = ", ".join(sorted(pages))

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = 10  # a client that says nothing must not keep its thread

        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            self._answer(*(page() if page else (404, f"try {known}\n".encode())))

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Keep scrapes out of the log."""

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", _TEXT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
