"""Signals: stop gracefully, and dump all stacks on SIGUSR2."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
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


def stacks(loop: asyncio.AbstractEventLoop | None = None) -> str:
    """Return where every thread and every task is, innermost call first; from other threads with their `loop`."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    threads = (
        _block(f"thread {names.get(ident, ident)}", _walk(frame))
        for ident, frame in sys._current_frames().items()
    )
    tasks = (
        _block(f"task {task.get_name()}", reversed(task.get_stack())) for task in asyncio.all_tasks(loop)
    )
    return "\n".join([f"{_MARKER}: threads and tasks of this process\n", *threads, *tasks])


def _walk(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield a frame and its callers."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _block(title: str, frames: Iterable[FrameType]) -> str:
    # Not `traceback`: it fails on frames of compiled modules such as gRPC's, which have no line.
    lines = (f"  {frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}\n" for frame in frames)
    return "".join([f"{title}\n", *lines])
