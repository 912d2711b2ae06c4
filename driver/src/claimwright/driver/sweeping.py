"""Sweeping: claims that the API server no longer has, and files that no claim owns.

Prepared claims are the kubelet's to release, and it forgets none: it writes down each claim before it calls. So they
are asked for only when it may have lost that memory, at its restart and at this driver's. Asking for them every ten
minutes would cost a large cluster's API server more than all prepares together.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from claimwright.dra.kube import RESOURCE_CLAIMS, Kube, KubeError, NotFound
from claimwright.dra.plugin import MetadataFiles
from claimwright.driver.entries import Entry, State
from claimwright.driver.errors import DriverError
from claimwright.driver.machine import Machine
from claimwright.driver.pausing import sleep_unless
from claimwright.driver.ports import Clock
from claimwright.driver.tools.claim_spec import KIND, leftovers_in, specs_in

logger = logging.getLogger(__name__)
INTERVAL_SECONDS = 600.0


class Sweeper:
    """Releases what was forgotten: all claims when driver or kubelet start, those stuck half-way every ten minutes."""

    def __init__(
        self,
        machine: Machine,
        kube: Kube,
        cdi_folder: Path,
        clock: Clock,
        metadata: MetadataFiles | None = None,
        *,
        kind: str = KIND,
    ) -> None:
        self._machine = machine
        self._kube = kube
        self._cdi_folder = cdi_folder
        self._clock = clock
        self._metadata = metadata
        self._kind = kind
        self._kubelet_came = asyncio.Event()

    def kubelet_came(self) -> None:
        """Take that the kubelet was restarted, and ask soon for all claims."""
        self._kubelet_came.set()

    async def run(self) -> None:
        """Sweep now and for ever; cancel to stop."""
        everything = True
        while True:
            await self.sweep(prepared=everything)
            everything = await self._wait()

    async def sweep(self, *, prepared: bool = True) -> None:
        """Sweep once, without `prepared` only what is stuck; what cannot be decided or released now waits."""
        for entry in self._machine.entries:
            if not self._machine.in_charge:
                return
            if entry.state is State.PREPARED and not prepared:
                continue
            if await self._is_stale(entry):
                await self._release(entry)
            elif entry.state is not State.PREPARED:
                logger.debug("partially prepared claim not stale: %s", entry.claim)
        self.remove_orphans()

    def remove_orphans(self) -> None:
        """Remove claim specs and metadata whose claim this node does not hold, and what killed writers left."""
        if not self._machine.in_charge:
            return  # its claims are those of another instance
        for path in leftovers_in(self._cdi_folder, self._kind):
            path.unlink(missing_ok=True)
        for uid, path in specs_in(self._cdi_folder, self._kind):
            if self._machine.entry(uid) is None:
                logger.info("removing CDI file of unknown claim: %s", path)
                path.unlink(missing_ok=True)
        if self._metadata is not None:
            self._metadata.remove_orphans([entry.uid for entry in self._machine.entries])

    async def _wait(self) -> bool:
        """Return after ten minutes, or when the kubelet came; tell whether it did."""
        await sleep_unless(self._kubelet_came, self._clock, INTERVAL_SECONDS)
        came = self._kubelet_came.is_set()
        self._kubelet_came.clear()
        return came

    async def _is_stale(self, entry: Entry) -> bool:
        claim = entry.claim
        try:
            found = await asyncio.to_thread(
                self._kube.get, RESOURCE_CLAIMS, claim.name, namespace=claim.namespace
            )
        except NotFound:
            return True
        except KubeError as error:
            logger.warning("claim %s cannot be checked, next try at the next sweep: %s", claim, error)
            return False
        return bool(found["metadata"]["uid"] != claim.uid)

    async def _release(self, entry: Entry) -> None:
        try:
            await self._machine.release(entry.uid)
        except DriverError as error:
            logger.warning("stale claim %s:%s cannot be released yet: %s", entry.claim, entry.uid, error)
        else:
            logger.info("Checkpointed RC cleanup: unprepared stale claim: %s:%s", entry.claim, entry.uid)
