"""The one flow that keeps what is published true: it reads the node again and publishes what changed.

It looks when the files of the node change, when a GPU reports an event, when somebody pokes it, and at least once in
every period. A reading that fails changes nothing but the taints: the last devices stay.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from claimwright.dra.slices import InvalidSlice, Pool
from claimwright.driver.entries import Entry
from claimwright.driver.errors import DriverError, NvmlUnusable
from claimwright.driver.health import HealthBoard, Notices, Physician
from claimwright.driver.inventory import Inventory
from claimwright.driver.layout import Layout
from claimwright.driver.pausing import sleep_unless
from claimwright.driver.ports import Clock, GpuEvent
from claimwright.driver.publishing import ailing_devices, pool_of
from claimwright.driver.stock import Stock

logger = logging.getLogger(__name__)
_FILES_SECONDS: Final = 2.0
_FIRST_RETRY_SECONDS: Final = 1.0
# What a GPU asks for after an event may take it a moment to say.
_AFTER_EVENT_SECONDS: Final = 2.0


class Reader(Protocol):
    """What is read of the node; both block, and are called in a thread."""

    def read(self, before: Inventory) -> Inventory:
        """Read the node; NvmlUnusable when it cannot be read now."""
        ...

    def signature(self) -> tuple[str, ...]:
        """Return words that are others when the node should be read again."""
        ...


class NodeWatch:
    """Owns the stock's renewal and the pool; lives in the event loop, `poke` may be called there only."""

    def __init__(
        self,
        node_name: str,
        stock: Stock,
        reader: Reader,
        physician: Physician,
        *,
        entries: Callable[[], Iterable[Entry]],
        board: HealthBoard,
        notices: Notices,
        layout: Layout,
        clock: Clock,
        period_seconds: float,
    ) -> None:
        self._node_name = node_name
        self._stock = stock
        self._reader = reader
        self._physician = physician
        self._entries = entries
        self.board = board
        self._notices = notices
        self._layout = layout
        self._clock = clock
        self._period_seconds = period_seconds
        self._poked = asyncio.Event()
        self._files: tuple[str, ...] = ()
        self._failures = 0
        self._fresh = False
        self._trouble: NvmlUnusable | None = None
        self._claim_troubles: dict[str, str] = {}
        self._published: Pool | None = None
        self._publish: Callable[[Pool], None] = lambda _pool: None
        self._other_gpus: Callable[[], None] = lambda: None

    def on_other_gpus(self, call: Callable[[], None]) -> None:
        """Call back whenever other GPUs can be read than before."""
        self._other_gpus = call

    def heard(self, event: GpuEvent) -> None:
        """Take an event of a GPU, and look soon what it did."""
        self._physician.note(event)
        self.poke()

    def watch_ended(self) -> None:
        """Take that the watch for events broke, and look soon why."""
        self._physician.watch_ended()
        self.poke()

    def unmonitored(self, reasons: Mapping[str, str]) -> None:
        """Take by uuid which GPUs' events nobody hears, and why."""
        self._physician.unmonitored(reasons)
        self.poke()

    def poke(self) -> None:
        """Look soon."""
        self._poked.set()

    def server_is(self, layout: Layout) -> None:
        """Lay slices out for the API server that answered."""
        if layout != self._layout:
            self._layout = layout
            self._tell()

    def fields_dropped(self, fields: Iterable[str]) -> None:
        """Publish what is true without the fields that the API server does not keep."""
        layout = self._layout.without(fields)
        if layout != self._layout:
            logger.warning("slices are published without what the API server drops: %s", layout)
            self.server_is(layout)

    def claims_changed(self) -> None:
        """Take a change of the claims: where counters cannot, the slices say what they exclude."""
        if not self._layout.counters:
            self._tell()

    def claim_troubled(self, uid: str, trouble: str) -> None:
        """Take what is wrong with what a claim holds, though its devices are well; empty when it is over."""
        if self._claim_troubles.get(uid, "") != trouble:
            self._claim_troubles[uid] = trouble
            self._claim_troubles = {uid: text for uid, text in self._claim_troubles.items() if text}
            self._tell()

    def first_pool(self) -> Pool:
        """Examine what has been read already, and return what to publish of it."""
        self._files = self._reader.signature()
        self._tell()
        assert self._published is not None
        return self._published

    async def run(self, publish: Callable[[Pool], None]) -> None:
        """Watch for ever; cancel to stop."""
        self._publish = publish
        while True:
            await self._wait()
            self._poked.clear()
            await self.look()

    async def look(self) -> None:
        """Read the node once, and tell everybody what changed."""
        before = self._stock.inventory
        self._fresh = self._physician.attend()
        try:
            inventory = await asyncio.to_thread(self._reader.read, before)
        except DriverError as error:
            self._failed(error)
        else:
            if self._trouble is not None or self._failures:
                logger.info("the node can be read again")
            self._failures, self._trouble = 0, None
            self._stock.renew(inventory)
            self._report(before, inventory)
        self._tell()

    async def _wait(self) -> None:
        """Return when the files changed, after a poke, or when the period is over."""
        due = self._clock.now() + self._pause()
        while not self._poked.is_set():
            left = due - self._clock.now()
            if left <= 0:
                return
            await sleep_unless(self._poked, self._clock, min(left, _FILES_SECONDS))
            files = await asyncio.to_thread(self._reader.signature)
            if files != self._files:
                self._files = files
                return

    def _pause(self) -> float:
        if not self._failures:
            return min(self._period_seconds, _AFTER_EVENT_SECONDS) if self._fresh else self._period_seconds
        return min(self._period_seconds, _FIRST_RETRY_SECONDS * float(1 << min(self._failures - 1, 16)))

    def _failed(self, error: DriverError) -> None:
        """Keep what is known. Trouble counts at once when NVML names it, else when it lasts."""
        self._failures += 1
        if self._failures == 1:
            logger.warning("the node cannot be read, its devices stay as they were: %s", error)
        trouble = error if isinstance(error, NvmlUnusable) else NvmlUnusable(str(error))
        if trouble.word != "failing" or self._failures > 1:
            self._trouble = trouble

    def _report(self, before: Inventory, now: Inventory) -> None:
        known = {gpu.uuid: gpu for gpu in before.gpus}
        here = {gpu.uuid: gpu for gpu in now.gpus}
        for uuid in sorted(here.keys() - known.keys()):
            logger.info("%s %s %s came", here[uuid].device_name, here[uuid].pci_bus_id, uuid)
        for uuid in sorted(known.keys() - here.keys()):
            logger.warning("%s %s %s is gone", known[uuid].device_name, known[uuid].pci_bus_id, uuid)
        readable = {gpu.uuid for gpu in now.gpus if not gpu.lost}
        if readable != {gpu.uuid for gpu in before.gpus if not gpu.lost}:
            self._other_gpus()

    def _tell(self) -> None:
        ailments = self._physician.examine(self._stock.inventory, self._trouble)
        ailing = ailing_devices(self._stock, ailments)
        entries = tuple(self._entries())
        pool = pool_of(self._node_name, self._stock, layout=self._layout, ailing=ailing, entries=entries)
        if pool != self._published:
            self._try_to_publish(pool)
        self.board.post(ailing, entries, self._claim_troubles)
        self._notices.tell(ailments, self._gone(entries), self._troubled(entries))

    def _try_to_publish(self, pool: Pool) -> None:
        try:
            self._publish(pool)
        except InvalidSlice:
            logger.exception("the devices of this node make no valid slices, the last ones stay")
        else:
            self._published = pool

    def _troubled(self, entries: Iterable[Entry]) -> list[str]:
        return [
            f"claim {entry.claim}: {self._claim_troubles[entry.uid]}"
            for entry in entries
            if entry.uid in self._claim_troubles
        ]

    def _gone(self, entries: Iterable[Entry]) -> list[tuple[str, str]]:
        here = {gpu.pci_bus_id for gpu in self._stock.inventory.gpus}
        here |= {offer.hardware for offer in self._stock.offers.values()}
        return [
            (held.device, str(entry.claim))
            for entry in entries
            for held in entry.devices
            if held.hardware not in here
        ]
