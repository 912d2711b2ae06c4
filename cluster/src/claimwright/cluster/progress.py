"""Say what is going on and for how long: a line on a pipe, a spinner on a terminal, nothing in a test."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

_TICK_SECONDS = 10.0
_WORTH_SAYING_SECONDS = 2.0


class Progress(Protocol):
    """What a long operation reports to."""

    def step(self, label: str) -> AbstractContextManager[None]:
        """Report `label` as running until the context ends, with its elapsed time."""

    def note(self, text: str) -> None:
        """Report a fact that the user should see once."""


class Silent:
    """Reports nothing."""

    @contextmanager
    def step(self, label: str) -> Iterator[None]:
        """Do nothing around the step."""
        del label
        yield

    def note(self, text: str) -> None:
        """Do nothing."""


class Lines:
    """Plain lines for logs and pipes: the start, a tick every ten seconds, the end when it took two seconds."""

    def __init__(self, stream: TextIO | None = None, *, tick_seconds: float = _TICK_SECONDS) -> None:
        self._stream = stream or sys.stderr
        self._tick_seconds = tick_seconds
        self._began = time.monotonic()

    @contextmanager
    def step(self, label: str) -> Iterator[None]:
        """Print `label`, tick while the body runs, print the elapsed time of a long body."""
        began = time.monotonic()
        self._say(f"{label} …")
        done = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(label, began, done), daemon=True)
        ticker.start()
        try:
            yield
        finally:
            done.set()
            ticker.join()
        if (elapsed := time.monotonic() - began) >= _WORTH_SAYING_SECONDS:
            self._say(f"{label}: {elapsed:.1f} s")

    def note(self, text: str) -> None:
        """Print `text`."""
        self._say(text)

    def _tick(self, label: str, began: float, done: threading.Event) -> None:
        while not done.wait(self._tick_seconds):
            self._say(f"{label} … {time.monotonic() - began:.0f} s")

    def _say(self, text: str) -> None:
        self._stream.write(f"[{time.monotonic() - self._began:6.1f}s] {text}\n")
        self._stream.flush()


class Terminal:
    """A spinner with the elapsed time, and a line for each finished step (rich)."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - a tenth of a second that pipes and tests need not pay

        self._console = Console(stderr=True)

    @contextmanager
    def step(self, label: str) -> Iterator[None]:
        """Spin while the body runs."""
        from rich.progress import Progress as Bars  # noqa: PLC0415
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

        began = time.monotonic()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Bars(*columns, console=self._console, transient=True) as bars:
            bars.add_task(label, total=None)
            yield
        self._console.print(f"[green]✓[/] {label} [dim]{time.monotonic() - began:.1f} s[/]", highlight=False)

    def note(self, text: str) -> None:
        """Print `text` above the spinner."""
        self._console.print(text, highlight=False, markup=False)


def for_stream(stream: TextIO | None = None) -> Progress:
    """Choose the terminal's form for a terminal and plain lines for everything else."""
    target = stream or sys.stderr
    return Terminal() if target.isatty() else Lines(target)
