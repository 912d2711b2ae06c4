"""What an API server, or the way to it, can answer instead of a result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from claimwright.dra.errors import DraError


class KubeError(DraError):
    """A request that failed; `status` is the HTTP status, 0 where no answer came."""

    retryable: ClassVar[bool] = False

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        retry_after_seconds: float | None = None,
        details: object = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} ({self.reason}, status {self.status})"


class NotFound(KubeError):
    """The object or the kind does not exist."""


class Conflict(KubeError):
    """The object changed since it was read, or a precondition does not hold: read again."""


class AlreadyExists(Conflict):
    """An object of that name exists already."""


class Unauthorized(KubeError):
    """The credentials are missing, wrong or expired."""


class Forbidden(KubeError):
    """The user may not do this: RBAC or an admission policy."""


class Gone(KubeError):
    """The resource version is too old: list again."""


class Invalid(KubeError):
    """The object breaks the API's rules; the message names the fields."""


class Unavailable(KubeError):
    """No answer, or one that asks to come back (429, 5xx): try again later."""

    retryable: ClassVar[bool] = True


_BY_STATUS: Mapping[int, type[KubeError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: Unavailable,
}


def error_of(status: int, body: bytes, *, what: str, retry_after: str | None = None) -> KubeError:
    """Turn an HTTP error answer into its exception; `what` says which request it answers."""
    answer = _status_object(body)
    reason = str(answer.get("reason") or status)
    text = str(answer.get("message") or body[:500].decode(errors="replace").strip() or "no message")
    kind = Unavailable if status >= 500 else _BY_STATUS.get(status, KubeError)
    if reason == "AlreadyExists":
        kind = AlreadyExists
    return kind(
        status,
        reason,
        f"{what}: {text}",
        retry_after_seconds=_seconds(retry_after),
        details=answer.get("details"),
    )


def _status_object(body: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after and retry_after.isdecimal() else None
