"""What the driver remembers when it starts: the journal, or else what the world shows.

A node on which the community driver ran has its checkpoint beside the place of our journal. It is read when there is no
journal yet, or when it is the newer of the two: then that driver has run since. The file is left as it is.

The driver never refuses to start because of its own state. A journal that cannot be trusted is set aside and
kept, and the claims are found again: a claim spec in the CDI folder says that a claim was prepared, the API
server says which devices it has.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from claimwright.dra.claims import Claim, ClaimError
from claimwright.dra.kube import EVENTS, RESOURCE_CLAIMS, Kube, KubeError, Resource
from claimwright.driver.checkpoints import Checkpoint, CorruptCheckpoint, read_checkpoint
from claimwright.driver.entries import Entry, State
from claimwright.driver.errors import ClaimRefused, DriverError, NodeUnusable
from claimwright.driver.journal import CorruptJournal, load, set_aside
from claimwright.driver.ports import Clock
from claimwright.driver.tools.claim_spec import kind_of, specs_in

logger = logging.getLogger(__name__)
_API_DEADLINE_SECONDS = 300.0
_API_RETRY_SECONDS = 2.0
_CHECKPOINT = "checkpoint.json"


class Plans(Protocol):
    """Who knows what preparing a claim means for one driver."""

    driver: str

    def plan(self, claim: Claim) -> Entry:
        """Return what preparing `claim` means here; ClaimRefused when it cannot be prepared."""
        ...


class TakeOver(Protocol):
    """Who makes claims of ours of what the community driver left in its checkpoint."""

    async def __call__(
        self, checkpoint: Checkpoint, listed: Callable[[Resource], Awaitable[list[dict[str, Any]]]], /
    ) -> dict[str, Entry]:
        """Return them by uid; `listed` reads all objects of a kind."""
        ...


@dataclass(frozen=True)
class Remembered:
    """The claims to go on with, and what was wrong with the journal if something was."""

    entries: Mapping[str, Entry]
    problem: str | None = None


@dataclass(frozen=True)
class Restorer:
    """Finds the claims of this node again; without `take_over` no checkpoint of another driver is read.

    A reboot ends what was prepared. With `over_boots` its claims wait then, since they did something elsewhere.
    """

    journal: Path
    cdi_folder: Path
    boot_id: str
    planner: Plans
    kube: Kube
    clock: Clock
    take_over: TakeOver | None = None
    over_boots: bool = False

    async def remember(self) -> Remembered:
        """Return the claims that are prepared or half-prepared on this node in this boot."""
        due = self._checkpoint_is_due()
        own = await self._own(rebuild=not due)
        if not due:
            return own
        try:
            checkpoint = read_checkpoint(self._checkpoint)
        except CorruptCheckpoint as error:
            return await self._without(self._checkpoint, error, own)
        taken = await self._taken_over(checkpoint or Checkpoint())
        # What the journal holds was prepared by this driver, whatever the other one did since.
        return Remembered({**taken, **own.entries}, own.problem)

    async def _own(self, *, rebuild: bool) -> Remembered:
        """Return what the journal holds; without one that can be trusted, what can be rebuilt."""
        try:
            loaded = load(self.journal, self.planner.driver)
        except CorruptJournal as error:
            return await self._without(self.journal, error, Remembered({}))
        if loaded is None:
            return Remembered(await self._rebuild() if rebuild else {})
        if self._is_of_another_boot(loaded.boot_id):
            if self.over_boots:
                return Remembered({uid: _over_a_boot(entry) for uid, entry in loaded.entries.items()})
            logger.info("the node was rebooted: forgetting %d claims of the last boot", len(loaded.entries))
            return Remembered({})
        return Remembered(loaded.entries)

    async def _without(self, file: Path, error: DriverError, known: Remembered) -> Remembered:
        """Set a corrupt file aside and find the claims by CDI files."""
        kept = set_aside(file, self.clock.now())
        problem = f"{error}; it is kept as {kept}, and the state was rebuilt from CDI files and claims"
        logger.error("corrupt state: %s", problem)
        problems = "; ".join(filter(None, (known.problem, problem)))
        return Remembered({**await self._rebuild(), **known.entries}, problems)

    def _checkpoint_is_due(self) -> bool:
        if self.take_over is None:
            return False
        try:
            written = self._checkpoint.stat().st_mtime_ns
            return written > self.journal.stat().st_mtime_ns
        except FileNotFoundError:
            return self._checkpoint.exists()

    async def _taken_over(self, checkpoint: Checkpoint) -> dict[str, Entry]:
        if not checkpoint.claims or self.take_over is None:
            return {}
        rebooted = self._is_of_another_boot(checkpoint.boot_id)
        if rebooted and not self.over_boots:
            logger.info(
                "the node was rebooted: the community driver's %d claims are over", len(checkpoint.claims)
            )
            return {}
        taken = await self.take_over(checkpoint, self._listed)
        return {uid: _over_a_boot(entry) if rebooted else entry for uid, entry in taken.items()}

    @property
    def _checkpoint(self) -> Path:
        return self.journal.with_name(_CHECKPOINT)

    def _is_of_another_boot(self, boot_id: str) -> bool:
        return bool(self.boot_id and boot_id and boot_id != self.boot_id)

    async def _rebuild(self) -> dict[str, Entry]:
        wanted = {uid for uid, _ in specs_in(self.cdi_folder, kind_of(self.planner.driver))}
        if not wanted:
            return {}
        entries: dict[str, Entry] = {}
        for item in await self._listed(RESOURCE_CLAIMS):
            if (item.get("metadata") or {}).get("uid") in wanted:
                entry = self._entry(item)
                if entry is not None:
                    entries[entry.uid] = entry
        logger.info("rebuilt %d of %d claims that have CDI files", len(entries), len(wanted))
        return entries

    def _entry(self, item: Mapping[str, Any]) -> Entry | None:
        try:
            planned = self.planner.plan(Claim.from_object(item))
        except (ClaimError, ClaimRefused) as error:
            logger.warning("a claim with a CDI file is not rebuilt: %s", error)
            return None
        # It was prepared, so steps without a visible trace may have acted, and release must undo them.
        return replace(planned, state=State.PREPARED, acted=frozenset(range(len(planned.steps))))

    async def _listed(self, resource: Resource) -> list[dict[str, Any]]:
        deadline = self.clock.now() + _API_DEADLINE_SECONDS
        while True:
            try:
                return list((await asyncio.to_thread(self.kube.list, resource)).get("items", ()))
            except KubeError as error:
                if self.clock.now() >= deadline:
                    raise NodeUnusable(
                        f"{resource.plural} cannot be listed to rebuild the state: {error}"
                    ) from error
                logger.warning("waiting for the API server to rebuild the state: %s", error)
            await self.clock.sleep(_API_RETRY_SECONDS)


def _over_a_boot(entry: Entry) -> Entry:
    return entry.at(State.WAITING) if entry.state is State.PREPARED else entry


def corruption_event(driver: str, node: str, problem: str, now: float) -> dict[str, Any]:
    """Return the Event (events.k8s.io/v1) that tells people about a journal that was set aside."""
    when = dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "metadata": {"generateName": f"{node}-", "namespace": "default"},
        "regarding": {"apiVersion": "v1", "kind": "Node", "name": node},
        "type": "Warning",
        "reason": "CheckpointCorrupted",
        "action": "RebuildState",
        "note": problem[:1024],
        "eventTime": when,
        "reportingController": driver,
        "reportingInstance": node[:128],
    }


def report_corruption(kube: Kube, driver: str, node: str, problem: str, now: float) -> None:
    """Write the Event; a failure is logged, since the driver works without it."""
    try:
        kube.create(EVENTS, corruption_event(driver, node, problem, now), namespace="default")
    except KubeError as error:
        logger.warning("the event about corrupt state was not written: %s", error)
