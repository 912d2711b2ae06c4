"""One small JSON file that outlives the driver's process and not the machine's boot.

Not synced: a reboot makes what it tells worthless, and a node without it is read anew. Rubbish in it, another boot's or
another version's count as nothing remembered.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from claimwright.dra.files import write_atomically

logger = logging.getLogger(__name__)
_VERSION: Final = 1
Content = TypeVar("Content")


class BootFile:
    """Reads and writes the file; `without` says in the log what follows from one that cannot be read."""

    def __init__(self, path: Path, boot_id: str, *, without: str) -> None:
        self._path = path
        self._boot_id = boot_id
        self._without = without
        self._written: str | None = None

    @property
    def exists(self) -> bool:
        """Whether this process has read or written it."""
        return self._written is not None

    def load(self, decode: Callable[[Mapping[str, Any]], Content]) -> Content | None:
        """Return what `decode` makes of the record, which may raise as for rubbish; None when nothing is remembered."""
        try:
            text = self._path.read_text(encoding="utf-8")
            record = json.loads(text)
            if record["version"] != _VERSION or record["boot"] != self._boot_id:
                return None
            content = decode(record)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s is not readable, %s: %s", self._path, self._without, error)
            return None
        self._written = text
        return content

    def save(self, content: Mapping[str, Any]) -> bool:
        """Write it when it changed, and tell whether it is there; a failure is logged, as the driver works without."""
        text = json.dumps({"version": _VERSION, "boot": self._boot_id, **content})
        if text != self._written:
            try:
                write_atomically(self._path, text, mode=0o600, durable=False)
            except OSError as error:
                logger.warning("%s cannot be written: %s", self._path, error)
                return False
            self._written = text
        return True
