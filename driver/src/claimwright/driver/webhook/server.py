"""The webhook as a process: HTTPS until a signal comes, then what is being answered is answered."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from claimwright.driver import signals
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.webhook.certificates import ServingCertificate
from claimwright.driver.webhook.connections import HEAD_BYTES, Answer, Connection, Request, send
from claimwright.driver.webhook.reviews import UnreadableReview, review

logger = logging.getLogger(__name__)
REVIEW_PATH: Final = "/validate-resource-claim-parameters"
READY_PATH: Final = "/readyz"
# An API server keeps a handful open; more than this is an attack or a loop.
_MOST_CONNECTIONS: Final = 256
_HANDSHAKE_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 10.0


@dataclass(frozen=True)
class WebhookSettings:
    """Settings of `webhook`; port 0 is any free one, an empty host all addresses."""

    certificate: Path
    key: Path
    port: int
    feature_gates: FeatureGates
    host: str = ""


class Webhook:
    """Answers requests on any number of connections at once; one event loop owns it."""

    def __init__(self, gates: FeatureGates) -> None:
        self._gates = gates
        self._open: dict[asyncio.Task[None], Connection] = {}

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection; nothing that comes over it can end the process."""
        task = asyncio.current_task()
        assert task is not None
        connection = self._open[task] = Connection(reader, writer, self.answer)
        try:
            if len(self._open) > _MOST_CONNECTIONS:
                busy = Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"too many connections, try again\n")
                await send(writer, busy, last=True, seconds=1.0)
            else:
                await connection.serve()
        except (OSError, asyncio.CancelledError):
            logger.debug("a connection ended early")
        except Exception:
            logger.exception("a connection failed")
        finally:
            del self._open[task]
            writer.close()
            with suppress(OSError, TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(1.0):
                    await writer.wait_closed()

    async def finish(self, seconds: float) -> None:
        """Let what is on its way be answered, and end every connection."""
        for task, connection in self._open.items():
            connection.closing = True
            if connection.idle:
                task.cancel()
        if tasks := tuple(self._open):
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()

    def answer(self, request: Request) -> Answer:
        """Answer one request."""
        if request.path == READY_PATH:
            return Answer(HTTPStatus.OK, b"ok")
        if request.path != REVIEW_PATH:
            return _text(HTTPStatus.NOT_FOUND, f"try {REVIEW_PATH} or {READY_PATH}")
        if request.method != "POST":
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, "reviews are sent with POST")
        content = request.headers.get("content-type", "")
        if content.partition(";")[0].strip().lower() != "application/json":
            return _text(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected Content-Type application/json")
        try:
            found = review(request.body, self._gates)
        except UnreadableReview as error:
            return _text(HTTPStatus.BAD_REQUEST, str(error))
        return Answer(HTTPStatus.OK, json.dumps(found).encode(), "application/json")


async def run(settings: WebhookSettings) -> None:
    """Serve until HUP, INT, TERM or QUIT; NodeUnusable when port or certificate cannot be used."""
    loop = asyncio.get_running_loop()
    stop = signals.stop_on_signals(loop)
    signals.dump_on_signal(loop)
    async with serving(settings) as port:
        logger.info("serving reviews on port %d", port)
        await stop.wait()
        logger.info("stopping")
    logger.info("stopped")


@asynccontextmanager
async def serving(settings: WebhookSettings) -> AsyncIterator[int]:
    """Serve within this context, which gives the port; what is being answered at the end is answered."""
    webhook = Webhook(settings.feature_gates)
    server = await _listen(settings, webhook)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await webhook.finish(_STOP_SECONDS)


async def _listen(settings: WebhookSettings, webhook: Webhook) -> asyncio.Server:
    certificate = ServingCertificate(settings.certificate, settings.key)
    try:
        return await asyncio.start_server(
            webhook.connected,
            sock=_socket(settings.host, settings.port),
            limit=HEAD_BYTES,
            ssl=certificate.context(),
            ssl_handshake_timeout=_HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=1.0,
        )
    except OSError as error:
        raise NodeUnusable(
            f"--port {settings.port}: cannot listen there: {error.strerror or error}; choose another port"
        ) from error


def _socket(host: str, port: int) -> socket.socket:
    """Listen on one address, or on all of both families with one socket: port 0 is then one port."""
    if host or not socket.has_dualstack_ipv6():
        return socket.create_server((host, port), backlog=_MOST_CONNECTIONS)
    return socket.create_server(
        ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_MOST_CONNECTIONS
    )


def _text(status: HTTPStatus, text: str) -> Answer:
    return Answer(status, f"{text}\n".encode(errors="backslashreplace"))
