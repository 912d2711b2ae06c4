"""Signals: stop gracefully, and dump all stacks on SIGUSR2."""

from __future__ import annotations

import asyncio
import io
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Final

from claimwright.dra.files import write_atomically

STOP: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
# The path and the word `main.RunPlugin` are what support scripts of the community driver look for.
DUMP: Final = Path("/tmp/goroutine-stacks.dump")  # noqa: S108
_MARKER = "main.RunPlugin"


def stop_on_signals(loop: asyncio.AbstractEventLoop) -> asyncio.Event:
    """Return an event that is set by the first of HUP, INT, TERM and QUIT."""
    stop = asyncio.Event()
    for number in STOP:
        loop.add_signal_handler(number, stop.set)
    return stop


def dump_on_signal(loop: asyncio.AbstractEventLoop, path: Path = DUMP) -> None:
    """Write the stacks of all threads and tasks to `path` on each SIGUSR2."""
    loop.add_signal_handler(signal.SIGUSR2, lambda: write_atomically(path, stacks(), durable=False))


def stacks() -> str:
    """Return where every thread and every task is."""
    out = io.StringIO()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    out.write(f"{_MARKER}: threads and tasks of this process\n")
    for ident, frame in sys._current_frames().items():
        out.write(f"\nthread {names.get(ident, ident)}\n")
        out.write("".join(traceback.format_stack(frame)))
    for task in asyncio.all_tasks():
        out.write(f"\ntask {task.get_name()}\n")
        task.print_stack(file=out)
    return out.getvalue()
