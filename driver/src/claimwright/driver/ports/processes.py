"""Programs as a port: those that run to their end, and those that stay."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol


@dataclass(frozen=True)
class Finished:
    """How a program ended: exit status and both outputs together."""

    status: int
    output: str


@dataclass(frozen=True, order=True)
class ProcessId:
    """One process for all time: a pid is used again, a pid with its start (clock ticks since boot) is not."""

    pid: int
    started: int


@dataclass(frozen=True)
class View:
    """What a program sees of the file system, in a mount namespace of its own; needs root.

    `binds` gives for places, as the program calls them, the folders that are there; `scratch` is an existing folder
    that is empty for the program, and in which such places are made. `root` is what the program takes for `/`.
    """

    binds: Mapping[PurePosixPath, Path] = field(default_factory=dict)
    scratch: PurePosixPath | None = None
    root: Path = Path("/")


class Processes(Protocol):
    """Programs that the driver runs."""

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        timeout_seconds: float,
        text: str = "",
        view: View | None = None,
        stays: bool = False,
    ) -> Finished:
        """Run to the end with `text` on standard input; what the program leaves in the background is not waited for.

        With `stays`, what it leaves in the background outlives the driver's own container, where the driver can
        arrange that. A program that cannot start or outlives the deadline raises StepFailed.
        """
        ...

    def tidy(self) -> None:
        """Remove what was arranged for those who stay, once none is left."""
        ...

    def marked(self, variable: str, value: str) -> tuple[ProcessId, ...]:
        """Return the living processes in whose environment `variable` was `value` when they started."""
        ...

    def find(self, pid: int) -> ProcessId | None:
        """Return the living process that has the pid now."""
        ...

    def send(self, process: ProcessId, number: signal.Signals) -> None:
        """Send a signal; to a process that has ended it is fine."""
        ...

    def wait_ended(self, processes: Iterable[ProcessId], *, timeout_seconds: float) -> bool:
        """Wait until all have ended; tell whether they have."""
        ...

    def wait_file(self, path: Path, *, made_by: Iterable[ProcessId], timeout_seconds: float) -> bool:
        """Wait until `path` exists, in a folder that does; tell whether it does. Ends early when all makers have."""
        ...

    def watch(self, process: ProcessId) -> int | None:
        """Return a descriptor that becomes readable at the end of the process, None after it; the caller closes it."""
        ...
