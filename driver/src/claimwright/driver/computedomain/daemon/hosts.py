"""The names of peers in /etc/hosts: one block of lines, replaced as a whole; all other lines are somebody else's.

In a pod the file is a bind mount: nothing can be renamed onto it (EBUSY), so it is written in place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# For a place that nobody has: refused at once, and never asked of the cluster's DNS, which a name in no file would be,
# with all search domains, for each free place of each daemon again and again.
_NOBODY: Final = "127.0.0.2"
_TITLE: Final = b"# Compute Domain Daemon mappings"
_LINES: Final = re.compile(rb"[^\n]*\n|[^\n]+")
_OURS: Final = re.compile(rb"[0-9A-Fa-f:.]+[ \t]+compute-domain-daemon-\d{4,}\s*")


def name_of(index: int) -> str:
    """Name the daemon at a place; the name stays when another node takes the place."""
    return f"compute-domain-daemon-{index:04d}"


def every_place(addresses: Mapping[int, str], count: int) -> dict[int, str]:
    """Give an address for each of `count` places, also for those that nobody has."""
    return {index: addresses.get(index, _NOBODY) for index in range(count)}


def with_mappings(text: bytes, addresses: Mapping[int, str]) -> bytes:
    """Replace the block in the text of a hosts file, wherever it and leftovers of it are; no addresses: no block."""
    kept = [line for line in _LINES.findall(text) if not _is_ours(line)]
    if not addresses:
        return b"".join(kept)
    if kept and not kept[-1].endswith(b"\n"):
        kept.append(b"\n")
    lines = (f"{address}\t{name_of(index)}\n".encode() for index, address in addresses.items())
    return b"".join([*kept, _TITLE + b"\n", *lines])


def write_mappings(path: Path, addresses: Mapping[int, str]) -> None:
    """Bring the file up to date; one that is so is not touched. Raises OSError.

    The new text goes in with one write and never leaves half an old line behind: a shorter one is filled up with
    empty lines first, and a kill before these are cut off does no harm.
    """
    with path.open("r+b", buffering=0) as file:
        old = file.read()
        new = with_mappings(old, addresses)
        if new != old:
            os.pwrite(file.fileno(), new.ljust(len(old), b"\n"), 0)
            file.truncate(len(new))


def _is_ours(line: bytes) -> bool:
    return line.strip() == _TITLE or _OURS.fullmatch(line) is not None
