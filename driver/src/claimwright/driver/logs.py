"""Logs: one line per event, as text or JSON, with the id of the request that it belongs to.

Levels follow the `-v` of Kubernetes components: 0 shows what an operator needs, 4 and above every decision.
"""

from __future__ import annotations

import contextvars
import datetime as dt
import itertools
import json
import logging
import sys
from typing import Literal

Format = Literal["text", "json"]
_DEBUG_FROM_VERBOSITY = 4
_requests = itertools.count(1)
_request_id: contextvars.ContextVar[int | None] = contextvars.ContextVar("request_id", default=None)


def begin_request() -> int:
    """Give the current task a request id of its own; every line logged below it carries it."""
    number = next(_requests)
    _request_id.set(number)
    return number


def configure(format: Format, verbosity: int) -> None:  # noqa: A002  the flag's name
    """Send this process's logs to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    level = logging.DEBUG if verbosity >= _DEBUG_FROM_VERBOSITY else logging.INFO
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("urllib3", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class TextFormatter(logging.Formatter):
    """`2026-01-02T03:04:05.678Z INFO claimwright.driver.machine [7] message`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, followed by a traceback if there is one."""
        request = _request_id.get()
        tag = "" if request is None else f" [{request}]"
        line = f"{_time(record)} {record.levelname} {record.name}{tag} {record.getMessage()}"
        return line if record.exc_info is None else f"{line}\n{self.formatException(record.exc_info)}"


class JsonFormatter(logging.Formatter):
    """One JSON object per line: `ts`, `level`, `logger`, `msg`, and `requestID`, `error` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        fields: dict[str, object] = {
            "ts": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        if (request := _request_id.get()) is not None:
            fields["requestID"] = request
        if record.exc_info is not None:
            fields["error"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def _time(record: logging.LogRecord) -> str:
    moment = dt.datetime.fromtimestamp(record.created, dt.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03d}Z"
