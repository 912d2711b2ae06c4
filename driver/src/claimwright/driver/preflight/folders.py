"""The folders that the driver writes to: there, writable, and with room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from claimwright.driver.preflight.findings import Finding, fail, ok, warn

_MEBIBYTE: Final = 1 << 20
# A journal and a few hundred CDI specs take less than the first; below the second a node is in trouble anyway.
_LEAST_MEBIBYTES: Final = 8
_FEW_MEBIBYTES: Final = 128
_LEAST_FILES: Final = 64


def check_folder(path: Path, subject: str, *, made_by: str | None) -> Iterator[Finding]:
    """Judge one folder; `made_by` says who must have made it, None that the driver makes it."""
    if not path.exists():
        if made_by is not None:
            yield fail(
                subject, f"{path} is not there", f"{made_by} makes it: is the path right, and does it run?"
            )
            return
        yield from _room(_existing(path), subject, f"{path} will be made")
        return
    if not path.is_dir():
        yield fail(subject, f"{path} is no folder", "Remove what is there, or give another path.")
        return
    yield from _room(path, subject, str(path))


def _room(folder: Path, subject: str, found: str) -> Iterator[Finding]:
    try:
        room = os.statvfs(folder)
    except OSError as error:
        yield fail(subject, f"{folder}: {error.strerror}", "Give the plugin access to it.")
        return
    free = room.f_bavail * room.f_frsize // _MEBIBYTE
    if room.f_blocks == 0:
        yield fail(subject, f"{found}: the kernel's own files are there", "Give another path.")
    elif room.f_flag & os.ST_RDONLY:
        yield fail(subject, f"{found}: read-only", "Mount it writable.")
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield fail(
            subject, f"{found}: not writable for uid {os.geteuid()}", "Run as root, or change its owner."
        )
    elif free < _LEAST_MEBIBYTES or (room.f_files and room.f_favail < _LEAST_FILES):
        yield fail(subject, f"{found}: {free} MiB and {room.f_favail} files free", "Free some space there.")
    elif free < _FEW_MEBIBYTES:
        yield warn(subject, f"{found}: {free} MiB free", "Free some space there.")
    else:
        yield ok(subject, f"{found}, {free} MiB free")


def _existing(path: Path) -> Path:
    return next(parent for parent in path.absolute().parents if parent.exists())
