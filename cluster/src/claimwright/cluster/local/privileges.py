"""What this process may do: namespaces, mounts, resource limits."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_CLONE_NEWNET = 0x40000000
_CAP_SYS_RESOURCE = 24


def why_no_nodes() -> str | None:
    """Say why real nodes cannot be made here, or None when they can.

    Being root is not enough: a container's root often lacks CAP_SYS_ADMIN, so the question is tried out in a child.
    """
    if os.geteuid() != 0:
        return f"real nodes need root, and this is user {os.geteuid()}"
    child = os.fork()
    if child == 0:
        refused = ctypes.CDLL(None).unshare(_CLONE_NEWNS | _CLONE_NEWNET)
        os._exit(1 if refused else 0)
    if os.waitpid(child, 0)[1] != 0:
        return "real nodes need CAP_SYS_ADMIN, and this root may not make namespaces (a container?)"
    return None


def may_raise_limits() -> bool:
    """Say whether the process has CAP_SYS_RESOURCE, without which no OOM score can be lowered."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_RESOURCE & 1)
    return False
