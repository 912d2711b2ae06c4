"""Puts together what the hardware says and what it reported: all ailments of the node, after each reading."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from claimwright.driver.errors import NvmlUnusable
from claimwright.driver.health.ailments import DRIVER, RECOVERY, UNMONITORED, Ailment
from claimwright.driver.health.diagnosis import LINGERING, Best, absence, diagnose
from claimwright.driver.health.xid_book import Remembered, XidBook
from claimwright.driver.health.xids import XidPolicy, XidRecord, record_of, still_true, xid_ailments
from claimwright.driver.inventory import Gpu, Inventory
from claimwright.driver.ports import Clock, GpuEvent


class Physician:
    """Remembers between readings; owned by the event loop.

    `thorough` (gate NVMLDeviceHealthCheck) looks at the state of repair as well; without it only GPUs that do not
    answer, and a driver that does not, ail.
    """

    def __init__(self, book: XidBook, policy: XidPolicy, clock: Clock, *, thorough: bool) -> None:
        self._book = book
        self._thorough = thorough
        self._policy = policy
        self._clock = clock
        remembered = book.load()
        self._xids = remembered.xids
        self._best = dict(remembered.best)
        self._pending: list[GpuEvent] = []
        self._attended: list[GpuEvent] = []
        self._unmonitored: Mapping[str, str] = {}
        self._unreachable: frozenset[str] = frozenset()
        self._driver_gone = False
        self._broke = False
        self._suspected: frozenset[tuple[str, str]] = frozenset()

    def note(self, event: GpuEvent) -> None:
        """Take an event; the next reading says what it means."""
        self._pending.append(event)

    def attend(self) -> bool:
        """Begin a reading: it tells of all events until now, and not of those that come meanwhile.

        Tells whether there are any.
        """
        self._attended += self._pending
        self._pending = []
        return bool(self._attended)

    def watch_ended(self) -> None:
        """Take that the watch for events broke: a GPU was lost, or the driver was reloaded under it."""
        self._broke = True

    def unmonitored(self, reasons: Mapping[str, str]) -> None:
        """Take the uuids of GPUs whose events nobody hears, and why."""
        self._unmonitored = dict(reasons)

    def examine(self, inventory: Inventory, trouble: NvmlUnusable | None) -> tuple[Ailment, ...]:
        """Return what ails the node; with `trouble`, `inventory` is of an earlier reading."""
        if trouble is not None:
            self._driver_gone |= trouble.word == "not-loaded"
            driver = Ailment(DRIVER, "NoSchedule", trouble.word, str(trouble))
            return (driver, *xid_ailments(self._xids, _by_address(inventory.gpus), self._policy))
        gpus = _by_address(inventory.gpus)
        self._remember(gpus)
        found = (*self._of_hardware(gpus), *xid_ailments(self._xids, gpus, self._policy))
        self._book.save(Remembered(self._xids, self._best))
        return tuple(self._weakened(found))

    def _remember(self, gpus: Mapping[str, Gpu]) -> None:
        now = self._clock.now()
        unreachable = frozenset(address for address, gpu in gpus.items() if gpu.lost)
        came_back = self._unreachable - unreachable
        # A watch that breaks with every GPU in its place: the driver was reloaded more quickly than anybody looked.
        reloaded = self._broke and not unreachable and gpus.keys() == self._best.keys()
        if self._driver_gone or reloaded:
            came_back |= gpus.keys()
        self._unreachable, self._driver_gone, self._broke = unreachable, False, False
        events, self._attended = self._attended, []
        fresh = [record for event in events if (record := record_of(event, gpus.values(), now))]
        known = still_true(self._xids, gpus, came_back, self._policy, now)
        self._xids = still_true(_merged(known, fresh), gpus, frozenset(), self._policy, now)
        self._best = {address: self._best.get(address, Best()).after(gpu) for address, gpu in gpus.items()}

    def _of_hardware(self, gpus: Mapping[str, Gpu]) -> Iterator[Ailment]:
        found = [each for address, gpu in gpus.items() for each in self._of_gpu(gpu, self._best[address])]
        suspected = frozenset((each.gpu, each.key) for each in found if each.key in LINGERING)
        before, self._suspected = self._suspected, suspected
        yield from (each for each in found if each.key not in LINGERING or (each.gpu, each.key) in before)
        for address, gpu in gpus.items():
            reason = self._unmonitored.get(gpu.uuid)
            if reason is not None and not gpu.lost:
                yield Ailment(UNMONITORED, "None", "", f"nobody hears its events: {reason}", address)

    def _of_gpu(self, gpu: Gpu, best: Best) -> Iterator[Ailment]:
        if gpu.lost or gpu.unreadable:
            yield from absence(gpu)
        elif self._thorough:
            yield from diagnose(gpu, best)

    def _weakened(self, ailments: Iterable[Ailment]) -> Iterator[Ailment]:
        """Yield them; a recovery that only ignored XIDs ask for is shown and stops nobody."""
        for ailment in ailments:
            causes = [record for record in self._xids if record.gpu == ailment.gpu]
            ignored = causes and all(record.xid in self._policy.ignored for record in causes)
            yield replace(ailment, effect="None") if ailment.key == RECOVERY and ignored else ailment


def _by_address(gpus: Iterable[Gpu]) -> dict[str, Gpu]:
    return {gpu.pci_bus_id: gpu for gpu in gpus}


def _merged(known: Iterable[XidRecord], fresh: Iterable[XidRecord]) -> tuple[XidRecord, ...]:
    """Return one record per GPU, partition and XID: the latest, with what was asked since the first."""
    merged: dict[tuple[str, int | None, int], XidRecord] = {}
    for record in (*known, *fresh):
        key = (record.gpu, record.gpu_instance, record.xid)
        merged[key] = replace(record, asked=record.asked or (key in merged and merged[key].asked))
    return tuple(merged.values())
