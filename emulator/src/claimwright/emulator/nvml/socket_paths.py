"""Socket addresses hold 108 bytes; a longer path is reached through the descriptor of its folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LIMIT = 107  # sizeof(sockaddr_un.sun_path) without the final NUL


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Give a name for the socket that fits into an address; valid inside the block."""
    if len(os.fsencode(path)) <= _LIMIT:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
