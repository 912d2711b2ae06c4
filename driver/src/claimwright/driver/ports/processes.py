"""Programs as a port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Finished:
    """How a program ended: exit status and both outputs together."""

    status: int
    output: str


class Processes(Protocol):
    """Programs that the driver runs."""

    def run(
        self, command: Sequence[str], *, environment: Mapping[str, str], timeout_seconds: float
    ) -> Finished:
        """Run to the end; a program that cannot start or outlives the deadline raises StepFailed."""
        ...
