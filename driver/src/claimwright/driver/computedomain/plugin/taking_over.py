"""Taking over the claims of a node from the community driver's ComputeDomain plugin, whose checkpoint has them.

Its label, folders and CDI specs are where ours are, so claims go on under running pods. The specs that containers were
made by stay until their claims are released.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from claimwright.dra.claims import Claim, ClaimError
from claimwright.dra.kube import RESOURCE_CLAIMS, Resource
from claimwright.driver.checkpoints import Checkpoint, CheckpointClaim
from claimwright.driver.computedomain.plugin.planning import DomainPlanner
from claimwright.driver.entries import Entry, State
from claimwright.driver.errors import ClaimRefused

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DomainTakeOver:
    """Makes claims of ours of what the checkpoint has."""

    planner: DomainPlanner

    async def __call__(
        self, checkpoint: Checkpoint, listed: Callable[[Resource], Awaitable[list[dict[str, Any]]]], /
    ) -> dict[str, Entry]:
        """Return them by uid: prepared, waiting if they had only begun, to be released if the claim is gone."""
        known = {item["metadata"]["uid"]: item for item in await listed(RESOURCE_CLAIMS)}
        return {entry.uid: entry for entry in self._entries(checkpoint, known)}

    def _entries(self, checkpoint: Checkpoint, known: Mapping[str, Mapping[str, Any]]) -> Iterator[Entry]:
        for claim in checkpoint.claims:
            try:
                planned = self.planner.plan(_claim(claim, known.get(claim.uid) or {}))
            except (ClaimError, ClaimRefused) as error:
                logger.warning("claim %s of the community driver is not taken over: %s", claim.uid, error)
                continue
            yield self._entry(claim, planned, here=claim.uid in known)

    def _entry(self, claim: CheckpointClaim, planned: Entry, *, here: bool) -> Entry:
        state = (State.PREPARED if claim.completed else State.WAITING) if here else State.RELEASING
        # Containers run with the ids that they were given.
        told = {device.device: device.cdi_ids for device in claim.devices}
        devices = tuple(
            replace(held, cdi_ids=told.get(held.device, held.cdi_ids)) for held in planned.devices
        )
        logger.info(
            "took over claim %s (%s) from the community driver: %s", planned.claim, claim.uid, state.value
        )
        # All of its steps may have acted, and a release must undo them.
        return Entry(planned.claim, devices, planned.steps, state, frozenset(range(len(planned.steps))))


def _claim(claim: CheckpointClaim, known: Mapping[str, Any]) -> Claim:
    """Return the claim as it was prepared; one that is gone is released at once, its name only has to be legible."""
    metadata = known.get("metadata") or {}
    return Claim.from_object(
        {
            "metadata": {
                "namespace": claim.namespace or metadata.get("namespace") or "unknown",
                "name": claim.name or metadata.get("name") or claim.uid,
                "uid": claim.uid,
            },
            "status": claim.status or known.get("status") or {},
        }
    )
