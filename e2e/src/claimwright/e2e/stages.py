"""Named stages with elapsed time: what the demo and the bench show while they work."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

QUIET_SECONDS = 10.0


@dataclass(frozen=True)
class Stage:
    """One finished stage: its name, how it ended, in how many seconds, and a line of what it found."""

    name: str
    outcome: str
    seconds: float
    found: str


@dataclass
class Stages:
    """Runs stages one after the other and remembers them; a line at the start, one at the end, a pulse between."""

    finished: list[Stage] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str, purpose: str) -> Generator[list[str], None, None]:
        """Show a stage; what is appended to the yielded list is told at its end. An exception ends it as failed."""
        print(f"▶ {name}: {purpose}", file=sys.stderr, flush=True)
        found: list[str] = []
        started = time.monotonic()
        over = threading.Event()
        pulse = threading.Thread(target=_pulse, args=(name, started, over), daemon=True)
        pulse.start()
        outcome = "failed"
        try:
            yield found
            outcome = "ok"
        finally:
            over.set()
            seconds = time.monotonic() - started
            self.finished.append(Stage(name, outcome, seconds, " ".join(found)))
            sign = "✔" if outcome == "ok" else "✘"
            print(
                f"{sign} {name}: {' '.join(found) or outcome} [{seconds:.1f} s]", file=sys.stderr, flush=True
            )


def _pulse(name: str, started: float, over: threading.Event) -> None:
    while not over.wait(QUIET_SECONDS):
        print(f"  … {name}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
