"""The last errors of this driver, kept in one small file that `claimwright driver status` shows.

`recent-errors.json` in the plugin folder holds a list, newest last, of at most LIMIT objects

    {"operation": "prepare", "subject": "default/a", "text": ..., "first": 1.0, "last": 2.0, "count": 7}

with seconds since the epoch. The same error of the same subject, which a retrying kubelet makes many of, is counted.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from claimwright.dra.files import write_atomically
from claimwright.driver.ports import Clock

logger = logging.getLogger(__name__)
NAME: Final = "recent-errors.json"
LIMIT: Final = 32
_LONGEST_TEXT: Final = 1024


@dataclass(frozen=True)
class RecentError:
    """One error and how often it came; times are seconds since the epoch."""

    operation: str
    subject: str
    text: str
    first: float
    last: float
    count: int = 1

    def is_same(self, other: RecentError) -> bool:
        """Tell whether `other` is this error once more."""
        return (self.operation, self.subject, self.text) == (other.operation, other.subject, other.text)


class RecentErrors:
    """Remembers errors; one event loop owns it. A file that cannot be written costs nothing but the file."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._errors = list(read(path))

    def add(self, operation: str, subject: str, error: BaseException) -> None:
        """Remember an error and write the file."""
        now = self._clock.now()
        text = (str(error) or repr(error))[:_LONGEST_TEXT]
        new = RecentError(operation, subject, text, first=now, last=now)
        known = next((each for each in self._errors if each.is_same(new)), None)
        if known is not None:
            self._errors.remove(known)
            new = replace(known, last=now, count=known.count + 1)
        self._errors = [*self._errors, new][-LIMIT:]
        self._write()

    def _write(self) -> None:
        try:
            text = json.dumps([asdict(each) for each in self._errors], indent=1)
            write_atomically(self._path, text + "\n", mode=0o600, durable=False)
        except OSError as error:
            logger.debug("%s was not written: %s", self._path, error)


def read(path: Path) -> tuple[RecentError, ...]:
    """Return what a driver wrote there; nothing when there is no such file, or rubbish in it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return tuple(_error(item) for item in found)[-LIMIT:]
    except (OSError, ValueError, TypeError, KeyError):
        return ()


def _error(item: dict[str, Any]) -> RecentError:
    return RecentError(
        operation=str(item["operation"]),
        subject=str(item["subject"]),
        text=str(item["text"])[:_LONGEST_TEXT],
        first=float(item["first"]),
        last=float(item["last"]),
        count=int(item["count"]),
    )
