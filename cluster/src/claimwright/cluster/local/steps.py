"""The steps that a first process performs before it serves, as values (`init.perform` does them)."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

# Flags of mount(2).
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SHARED = 0x100000

Step = dict[str, Any]


def mount(
    target: Path | str, *, source: Path | str = "", kind: str = "", flags: int = 0, data: str = ""
) -> Step:
    """Mount a file system of type `kind`."""
    return {
        "do": "mount", "source": str(source), "target": str(target), "type": kind, "flags": flags, "data": data
    }  # fmt: skip


def bind(source: Path | str, target: Path | str) -> Step:
    """Show `source` at `target`, submounts included."""
    return mount(target, source=source, flags=MS_BIND | MS_REC)


def propagation(flags: int, target: Path | str = "/") -> Step:
    """Set the propagation of `target` and all below it (mount_namespaces(7))."""
    return mount(target, flags=flags | MS_REC)


def folder(target: Path | str, mode: int = 0o755) -> Step:
    """Make a folder, its parents too."""
    return {"do": "folder", "target": str(target), "mode": mode}


def device(target: Path | str, mode: int, number: int) -> Step:
    """Make a device node; `mode` holds its type and permissions as in st_mode, `number` its st_rdev."""
    assert stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
    return {"do": "device", "target": str(target), "mode": mode, "device": number}


def link(target: Path | str, source: str) -> Step:
    """Make `target` a symbolic link to `source`."""
    return {"do": "link", "target": str(target), "source": source}


def write(target: Path | str, text: str) -> Step:
    """Write ASCII text into a file, such as a sysctl."""
    return {"do": "write", "target": str(target), "text": text}


def own_proc() -> list[Step]:
    """Return the steps for a private mount namespace whose /proc shows the new PID namespace."""
    return [
        propagation(MS_PRIVATE),
        mount("/proc", source="proc", kind="proc", flags=MS_NOSUID | MS_NODEV | MS_NOEXEC),
    ]
