"""A script's progress for people: a line a step, and on a terminal a last line that moves with the time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from claimwright.emulator.faults.durations import duration_text

Said = Mapping[str, Any]
_BAR = 24


def step_line(said: Said) -> str:
    """Return what was done, and when, as one line."""
    outcome = "FAILED" if "failed" in said else str(said["outcome"])
    return f"{duration_text(said['at']):>8}  {said['step']}  ({outcome})"


def end_lines(end: Said) -> Iterator[str]:
    """Yield how a run ended, and in which state it left the node."""
    total = end["done"] + end["left"] + (end["end"] == "failed")
    why = f": {end['why']}" if end["why"] else ""
    yield f"{end['end']} after {end['done']} of {total} steps{why}"
    if end["undone"]:
        yield f"  ended with it    {', '.join(end['undone'])}"
    yield f"  still in force   {', '.join(end['in_force']) or 'nothing'}"


@contextmanager
def progress(started: Said) -> Iterator[Callable[[Said], None]]:
    """Give what shows each step; on a terminal a bar of the time stays below."""
    if not sys.stdout.isatty():
        yield lambda said: click.echo(step_line(said))
        return
    from rich.console import Console  # noqa: PLC0415 - rich costs 60 ms
    from rich.live import Live  # noqa: PLC0415

    console, bar = Console(highlight=False), _Bar(started)
    with Live(get_renderable=bar.line, console=console, refresh_per_second=5, transient=True):

        def show(said: Said) -> None:
            bar.last = said
            console.print(step_line(said), markup=False)

        yield show


class _Bar:
    """How far a run is, by the time since it was started here."""

    def __init__(self, started: Said) -> None:
        self.started = started
        self.since = time.monotonic()
        self.last: Said = {"done": 0, "next_at": None}

    def line(self) -> str:
        passed, whole = time.monotonic() - self.since, self.started["seconds"]
        full = _BAR if whole <= 0 else min(_BAR, int(_BAR * passed / whole))
        due = self.last["next_at"]
        coming = "" if due is None else f"  next in {max(0.0, due - passed):.0f} s"
        count = f"{self.last['done']} of {self.started['steps']} steps"
        return f"{'━' * full}{'╌' * (_BAR - full)}  {_clock(passed)} of {_clock(whole)}  {count}{coming}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
