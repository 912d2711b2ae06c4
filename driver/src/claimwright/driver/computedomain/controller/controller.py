"""The controller at work: a view that wakes domains, and threads that look at them."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from claimwright.dra.kube import Kube, KubeError
from claimwright.driver.computedomain.controller.metrics import ControllerMetrics
from claimwright.driver.computedomain.controller.owning import NameTaken
from claimwright.driver.computedomain.controller.reconciling import Reconciler
from claimwright.driver.computedomain.controller.settings import ControllerSettings
from claimwright.driver.computedomain.controller.view import View
from claimwright.driver.computedomain.controller.work_queue import WorkQueue

logger: Final = logging.getLogger(__name__)
# A request that hangs, for instance in somebody's webhook, must not keep all other domains waiting.
_WORKERS: Final = 4
# Every change is told by a watch; this is for what nobody can tell, such as a name that is free again.
_RESYNC_SECONDS: Final = 600.0
_STOP_SECONDS: Final = 15.0


class Controller:
    """Starts and stops once. Before the whole cluster was read, nothing is decided."""

    def __init__(
        self, kube: Kube, settings: ControllerSettings, *, resync_seconds: float = _RESYNC_SECONDS
    ) -> None:
        self._queue = WorkQueue()
        self._view = View(kube, settings.namespaces, self._queue.add)
        self._reconciler = Reconciler(kube, self._view, settings)
        self._resync_seconds = resync_seconds
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name="resync", daemon=True),
            *(threading.Thread(target=self._work, name=f"worker-{n}", daemon=True) for n in range(_WORKERS)),
        ]
        self.metrics = ControllerMetrics(self._view.domains)

    def start(self) -> None:
        """Begin to read the cluster and then to work; returns at once."""
        self._view.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop after the requests that are under way; twice is fine, and before the start too."""
        self._stopped.set()
        self._queue.close()
        self._view.stop()
        deadline = time.monotonic() + _STOP_SECONDS
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))

    def dead(self) -> list[str]:
        """Say which part of it has ended that should not have."""
        if self._stopped.is_set():
            return []
        ended = (each for each in self._threads if each.ident is not None and not each.is_alive())
        return [f"thread {each.name} has ended" for each in ended]

    def unread(self) -> list[str]:
        """Say what it waits for before it can begin; nothing before the start, as another controller leads then."""
        started = self._threads[0].ident is not None
        return [f"{what} cannot be read yet" for what in self._view.unread()] if started else []

    def _run(self) -> None:
        while not self._stopped.is_set() and not self._view.wait_read(1.0):
            """Without the whole picture, what exists would look as if it were missing."""
        while not self._stopped.is_set():
            for uid in self._view.uids():
                self._queue.add(uid)
            self._stopped.wait(self._resync_seconds)

    def _work(self) -> None:
        while not self._stopped.is_set() and not self._view.wait_read(1.0):
            """As above: changes wake domains from the first list on."""
        while (uid := self._queue.take()) is not None:
            self._queue.done(uid, failed=not self._look_at(uid))

    def _look_at(self, uid: str) -> bool:
        try:
            with self.metrics.seconds.time():
                self._reconciler.reconcile(uid)
        except NameTaken:
            return False  # told at the domain
        except KubeError as error:
            logger.log(
                logging.DEBUG if error.status == 409 else logging.WARNING,
                "uid %s is looked at again: %s",
                uid,
                error,
            )
        except Exception:
            # One domain that nobody foresaw must not end the work for all others.
            logger.exception("uid %s is looked at again", uid)
        else:
            return True
        self.metrics.failures.inc()
        return False
