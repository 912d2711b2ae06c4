"""/proc/PID/mountinfo as values (Documentation/filesystems/proc.rst, 3.5)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mounted:
    """One mount; `peers` is its peer group, None when it is not shared."""

    identity: int
    parent: int
    target: str
    kind: str
    source: str
    peers: int | None


def read_mounts(process: str = "self", *, proc: Path = Path("/proc")) -> list[Mounted]:
    """Return the mounts of a process's namespace, in the kernel's order; `proc` is the procfs to ask."""
    return [_parse(line) for line in (proc / process / "mountinfo").read_text().splitlines()]


def mount_of(path: str, mounts: list[Mounted]) -> Mounted:
    """Return the mount that a path is on: the last one made over its nearest mounted parent."""
    containing = [
        each for each in mounts if path == each.target or path.startswith(f"{each.target.rstrip('/')}/")
    ]
    nearest = max(len(each.target) for each in containing)
    return [each for each in containing if len(each.target) == nearest][-1]


def _parse(line: str) -> Mounted:
    before, _, after = line.partition(" - ")
    identity, parent, _device, _root, target, _options, *optional = before.split(" ")
    kind, source, *_rest = after.split(" ")
    shared = [field.removeprefix("shared:") for field in optional if field.startswith("shared:")]
    peers = int(shared[0]) if shared else None
    return Mounted(int(identity), int(parent), _plain(target), kind, _plain(source), peers)


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)
