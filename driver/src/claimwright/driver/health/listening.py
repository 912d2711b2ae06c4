"""Hears events of GPUs in a thread of its own, across losses of GPUs and reloads of the NVIDIA driver."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Final

from claimwright.driver.errors import NodeUnusable, WatchEnded
from claimwright.driver.ports import GpuEvent, GpuEvents, Watch

logger = logging.getLogger(__name__)
# How soon a GPU that came is listened to, and how long stopping takes.
_WAIT_SECONDS: Final = 0.25
# Short, as what happens meanwhile is not heard; a driver that is being loaded is asked more and more slowly.
_FIRST_PAUSE_SECONDS: Final = 0.1
_LAST_PAUSE_SECONDS: Final = 15.0


class Listener:
    """Calls back from its thread: `heard` with each event, `ended` when a watch broke, `began` with who is deaf."""

    def __init__(
        self,
        events: GpuEvents,
        *,
        heard: Callable[[GpuEvent], None],
        began: Callable[[Mapping[str, str]], None],
        ended: Callable[[], None],
    ) -> None:
        self._events = events
        self._heard = heard
        self._began = began
        self._ended = ended
        self._stopping = threading.Event()
        self._renewing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpu-events", daemon=True)

    def start(self) -> None:
        """Start the thread; returns at once."""
        self._thread.start()

    def renew(self) -> None:
        """Begin a new watch soon, because other GPUs are here now."""
        logger.info("the watch for events of GPUs ended: other GPUs are here now")
        self._renewing.set()

    def stop(self) -> None:
        """End the thread, which takes a moment. Blocking."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(2 * _WAIT_SECONDS + 1)

    def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            self._renewing.clear()
            try:
                with self._events.watch() as watch:
                    pause = _FIRST_PAUSE_SECONDS
                    logger.info("listening for events of GPUs")
                    self._began(watch.unmonitored)
                    self._follow(watch)
                continue
            except WatchEnded as error:
                logger.info("%s", error)
            except NodeUnusable as error:
                logger.warning("events of GPUs are not heard, next try in %g s: %s", pause, error)
            self._ended()
            self._stopping.wait(pause)
            pause = min(pause * 2, _LAST_PAUSE_SECONDS)

    def _follow(self, watch: Watch) -> None:
        while not (self._stopping.is_set() or self._renewing.is_set()):
            event = watch.wait(_WAIT_SECONDS)
            if event is not None:
                self._heard(event)
