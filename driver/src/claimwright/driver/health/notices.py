"""Kubernetes Events for what an administrator has to act on, and for its end; a flood is cut."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from claimwright.dra.kube import EVENTS, Kube, KubeError
from claimwright.driver.health.ailments import Ailment
from claimwright.driver.ports import Clock

logger = logging.getLogger(__name__)
_BURST: Final = 20.0
_PER_SECOND: Final = 1 / 30
_NOTE_CHARACTERS: Final = 1024


@dataclass(frozen=True)
class Notice:
    """One Event about this node; `reason` is for machines, `note` for people."""

    reason: str
    note: str
    warning: bool = True


class Notices:
    """Tells what is new since the last time; at most 20 Events at once and then one every 30 seconds."""

    def __init__(self, kube: Kube, node: str, clock: Clock, *, instance: str = "") -> None:
        self._kube = kube
        self._node = node
        self._clock = clock
        self._instance = instance or node
        self._known: frozenset[Ailment] = frozenset()
        self._gone: frozenset[str] = frozenset()
        self._troubles: frozenset[str] = frozenset()
        self._left = _BURST
        self._at = clock.now()
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(
        self, ailments: Iterable[Ailment], gone: Iterable[tuple[str, str]], troubles: Iterable[str] = ()
    ) -> None:
        """Take all severe ailments of the node now, and (device, claim) pairs whose GPU is not there any more.

        `troubles` are sentences about claims whose devices are well, and that are not.
        """
        now = frozenset(each for each in ailments if each.severe)
        vanished = frozenset(f"{device}, which claim {claim} holds, is gone" for device, claim in gone)
        for each in sorted(now - self._known, key=_words):
            self._send(Notice("GpuUnhealthy", _words(each)))
        for each in sorted(self._known - now, key=_words):
            self._send(Notice("GpuRecovered", f"over: {_words(each)}", warning=False))
        for text in sorted(vanished - self._gone):
            self._send(Notice("GpuGone", f"{text}; plug it in again, or delete the pods that use it"))
        troubled = frozenset(troubles)
        for text in sorted(troubled - self._troubles):
            self._send(Notice("ClaimUnhealthy", text))
        for text in sorted(self._troubles - troubled):
            self._send(Notice("ClaimRecovered", f"over: {text}", warning=False))
        self._known, self._gone, self._troubles = now, vanished, troubled

    async def settled(self) -> None:
        """Wait until all Events are written, or were refused."""
        await asyncio.gather(*self._tasks)

    def _send(self, notice: Notice) -> None:
        now = self._clock.now()
        self._left = min(_BURST, self._left + (now - self._at) * _PER_SECOND)
        self._at = now
        log = logger.warning if notice.warning else logger.info
        log("%s: %s", notice.reason, notice.note)
        if self._left < 1:
            return  # the log has it; an API server needs no flood
        self._left -= 1
        task = asyncio.create_task(asyncio.to_thread(self._write, notice, now), name="event")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _write(self, notice: Notice, now: float) -> None:
        try:
            self._kube.create(
                EVENTS, event_object(self._node, self._instance, notice, now), namespace="default"
            )
        except KubeError as error:
            logger.warning("the event %s was not written: %s", notice.reason, error)


def event_object(node: str, instance: str, notice: Notice, now: float) -> dict[str, Any]:
    """Return the Event (events.k8s.io/v1) about the Node."""
    when = dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "metadata": {"generateName": f"{node}-", "namespace": "default"},
        # kubectl describe node looks for Events by the node's name in the place of its uid.
        "regarding": {"apiVersion": "v1", "kind": "Node", "name": node, "uid": node},
        "type": "Warning" if notice.warning else "Normal",
        "reason": notice.reason,
        "action": "Watch",
        "note": notice.note[:_NOTE_CHARACTERS],
        "eventTime": when,
        "reportingController": "gpu.nvidia.com",
        "reportingInstance": instance[:128],
    }


def _words(ailment: Ailment) -> str:
    where = f"GPU {ailment.gpu}" if ailment.gpu else "all GPUs"
    part = (
        ""
        if ailment.instance is None
        else (
            f", partition of profile {ailment.instance.profile_id} at memory slice {ailment.instance.start}"
        )
    )
    return f"{where}{part}: {ailment.text}"
