"""Where the files of one control daemon are; containers get some of them, so the names are the community driver's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from claimwright.dra.files import write_atomically
from claimwright.driver.ports import ProcessId

# Set in the environment of everything that belongs to a daemon: who has it is known by it, never by a name.
MARK: Final = "CLAIMWRIGHT_MPS_GROUP"


@dataclass(frozen=True)
class Place:
    """The folder of one group; `daemons` is that of all groups of the node."""

    daemons: Path
    group: str

    @property
    def folder(self) -> Path:
        """The group's folder."""
        return self.daemons / self.group

    @property
    def pipe(self) -> Path:
        """Where the daemon listens."""
        return self.folder / "pipe"

    @property
    def log(self) -> Path:
        """The daemon's logs."""
        return self.folder / "log"

    @property
    def shm(self) -> Path:
        """The shared memory of servers and clients."""
        return self.folder / "shm"

    @property
    def is_own(self) -> bool:
        """Whether this driver made the folder; the community driver makes such folders too."""
        return self._owner.exists()

    def make(self) -> None:
        """Make the folders."""
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._owner.touch()
        for folder in (self.pipe, self.log, self.shm):
            folder.mkdir(mode=0o755, exist_ok=True)

    @property
    def control(self) -> Path:
        """The socket that takes commands."""
        return self.pipe / "control"

    @property
    def daemon_pid(self) -> int | None:
        """The pid that the daemon wrote down itself."""
        try:
            return int((self.pipe / "nvidia-cuda-mps-control.pid").read_text())
        except (OSError, ValueError):
            return None

    def remember(self, process: ProcessId) -> None:
        """Write down that the daemon is ready, with its limits set."""
        text = json.dumps({"pid": process.pid, "started": process.started})
        write_atomically(self._ready, text, durable=False)

    def remembered(self) -> ProcessId | None:
        """Return the daemon that was ready, which may have ended since."""
        try:
            found = json.loads(self._ready.read_text())
            return ProcessId(int(found["pid"]), int(found["started"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def forget(self) -> None:
        """Forget the daemon, and what it left in its pipe folder: the next one must not be taken for it."""
        self._ready.unlink(missing_ok=True)
        for path in self.pipe.glob("*"):
            path.unlink(missing_ok=True)

    @property
    def _owner(self) -> Path:
        return self.folder / "claimwright"

    @property
    def _ready(self) -> Path:
        return self.folder / "ready.json"


def places(daemons: Path) -> Iterator[Place]:
    """Yield every group that has a folder."""
    for path in sorted(daemons.glob("*")):
        if path.is_dir():
            yield Place(daemons, path.name)
