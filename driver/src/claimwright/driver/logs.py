"""Logs: one line per event, as text or JSON, with the fields that tie the lines of one request together.

Levels follow the `-v` of Kubernetes components: 0 shows what an operator needs, 4 and above every decision.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import logging
import sys
from typing import Any, Literal

Format = Literal["text", "json"]
_DEBUG_FROM_VERBOSITY = 4
# Everything else on a record was put there with `extra=`, for instance the kit's request_id and claim.
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def configure(format: Format, verbosity: int) -> None:  # noqa: A002  the flag's name
    """Send this process's logs to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    level = logging.DEBUG if verbosity >= _DEBUG_FROM_VERBOSITY else logging.INFO
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("urllib3", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class TextFormatter(logging.Formatter):
    """`2026-01-02T03:04:05.678Z INFO claimwright.driver.machine message request_id=07ab claim=default/a`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, followed by a traceback if there is one."""
        extra = "".join(f" {name}={value}" for name, value in _extra(record).items())
        line = f"{_time(record)} {record.levelname} {record.name} {record.getMessage()}{extra}"
        return line if record.exc_info is None else f"{line}\n{self.formatException(record.exc_info)}"


class JsonFormatter(logging.Formatter):
    """One JSON object per line: `ts`, `level`, `logger`, `msg`, extra fields, `error` with a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        fields: dict[str, object] = {
            "ts": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info is not None:
            fields["error"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}


def _time(record: logging.LogRecord) -> str:
    return f"{_second(int(record.created))}.{int(record.msecs):03d}Z"


@functools.lru_cache(1)
def _second(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
