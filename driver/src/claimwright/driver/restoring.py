"""What the driver remembers when it starts: the journal, or else what the world shows.

The driver never refuses to start because of its own state. A journal that cannot be trusted is set aside and
kept, and the claims are found again: a claim spec in the CDI folder says that a claim was prepared, the API
server says which devices it has.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from claimwright.dra.claims import Claim, ClaimError
from claimwright.dra.kube import EVENTS, RESOURCE_CLAIMS, Kube, KubeError
from claimwright.driver.entries import Entry, State
from claimwright.driver.errors import ClaimRefused, NodeUnusable
from claimwright.driver.journal import CorruptJournal, load, set_aside
from claimwright.driver.planning import Planner
from claimwright.driver.ports import Clock
from claimwright.driver.tools.claim_spec import specs_in

logger = logging.getLogger(__name__)
_API_DEADLINE_SECONDS = 300.0
_API_RETRY_SECONDS = 2.0


@dataclass(frozen=True)
class Remembered:
    """The claims to go on with, and what was wrong with the journal if something was."""

    entries: Mapping[str, Entry]
    problem: str | None = None


@dataclass(frozen=True)
class Restorer:
    """Finds the claims of this node again."""

    journal: Path
    cdi_folder: Path
    boot_id: str
    planner: Planner
    kube: Kube
    clock: Clock

    async def remember(self) -> Remembered:
        """Return the claims that are prepared or half-prepared on this node in this boot."""
        try:
            loaded = load(self.journal, self.planner.driver)
        except CorruptJournal as error:
            kept = set_aside(self.journal, self.clock.now())
            problem = f"{error}; it is kept as {kept}, and the state was rebuilt from CDI files and claims"
            logger.error("corrupt journal: %s", problem)  # noqa: TRY400  the text says all
            return Remembered(await self._rebuild(), problem)
        if loaded is None:
            return Remembered(await self._rebuild())
        if self.boot_id and loaded.boot_id and loaded.boot_id != self.boot_id:
            logger.info("the node was rebooted: forgetting %d claims of the last boot", len(loaded.entries))
            return Remembered({})
        return Remembered(loaded.entries)

    async def _rebuild(self) -> dict[str, Entry]:
        wanted = {uid for uid, _ in specs_in(self.cdi_folder)}
        if not wanted:
            return {}
        entries: dict[str, Entry] = {}
        for item in await self._claims():
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

    async def _claims(self) -> list[dict[str, Any]]:
        deadline = self.clock.now() + _API_DEADLINE_SECONDS
        while True:
            try:
                return list((await asyncio.to_thread(self.kube.list, RESOURCE_CLAIMS)).get("items", ()))
            except KubeError as error:
                if self.clock.now() >= deadline:
                    raise NodeUnusable(f"claims cannot be listed to rebuild the state: {error}") from error
                logger.warning("waiting for the API server to rebuild the state: %s", error)
            await self.clock.sleep(_API_RETRY_SECONDS)


def corruption_event(node: str, problem: str, now: float) -> dict[str, Any]:
    """Return the Event (events.k8s.io/v1) that tells people about a journal that was set aside."""
    when = dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "metadata": {"generateName": f"{node}.", "namespace": "default"},
        "regarding": {"apiVersion": "v1", "kind": "Node", "name": node},
        "type": "Warning",
        "reason": "CheckpointCorrupted",
        "action": "RebuildState",
        "note": problem[:1024],
        "eventTime": when,
        "reportingController": "gpu.nvidia.com",
        "reportingInstance": node,
    }


def report_corruption(kube: Kube, node: str, problem: str, now: float) -> None:
    """Write the Event; a failure is logged, since the driver works without it."""
    try:
        kube.create(EVENTS, corruption_event(node, problem, now), namespace="default")
    except KubeError as error:
        logger.warning("the event about the corrupt journal was not written: %s", error)
