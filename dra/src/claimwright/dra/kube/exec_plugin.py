"""Credential plugins of kubeconfig files (client.authentication.k8s.io), as managed clusters use them."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from claimwright.dra.kube.errors import Unauthorized

_DEADLINE_SECONDS: Final = 30.0
_EARLY_SECONDS: Final = 30.0


def exec_token(settings: Mapping[str, Any], *, folder: Path) -> Callable[[], str | None]:
    """Give the bearer header that the plugin's command prints; it is run again when the token expires."""
    lock = threading.Lock()
    cached: tuple[str, datetime | None] | None = None

    def authorization() -> str | None:
        nonlocal cached
        with lock:
            if cached is None or _expired(cached[1]):
                cached = _run(settings, folder)
            return cached[0]

    return authorization


def _run(settings: Mapping[str, Any], folder: Path) -> tuple[str, datetime | None]:
    command = str(settings.get("command") or "")
    # A name with a slash is relative to the kubeconfig, as in client-go; a bare name is looked up in PATH.
    program = str(folder / command) if "/" in command else command
    info = {
        "apiVersion": settings.get("apiVersion"),
        "kind": "ExecCredential",
        "spec": {"interactive": False},
    }
    environment = {str(item["name"]): str(item["value"]) for item in settings.get("env") or ()}
    try:
        answer = subprocess.run(
            [program, *[str(argument) for argument in settings.get("args") or ()]],
            env={**os.environ, **environment, "KUBERNETES_EXEC_INFO": json.dumps(info)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_DEADLINE_SECONDS,
            check=True,
        )
        status = json.loads(answer.stdout)["status"]
        return f"Bearer {status['token']}", _time(status.get("expirationTimestamp"))
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip()[-500:]
        raise Unauthorized(0, "ExecPlugin", f"credential plugin {command!r} failed: {reason}") from error
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        raise Unauthorized(
            0,
            "ExecPlugin",
            f"credential plugin {command!r} gave no token: {error!r}; run it by hand to see why",
        ) from error


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _expired(until: datetime | None) -> bool:
    return until is not None and (until - datetime.now(UTC)).total_seconds() < _EARLY_SECONDS
