"""Make a SIGTERM undo what runs, as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

TERMINATED_STATUS = 128 + signal.SIGTERM


class Terminated(KeyboardInterrupt):
    """SIGTERM came, as from `timeout`, a service manager or a pipeline that is cancelled."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raise Terminated on SIGTERM, so that what runs is undone as after Ctrl-C."""
    owner = os.getpid()

    def end(*_: object) -> NoReturn:
        if os.getpid() != owner:
            os._exit(TERMINATED_STATUS)  # a fork, such as pyroute2's for a namespace, must not undo our work
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers; a program that calls us from another has its own
        return
    former = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
