"""Taking over the GPUs' claims from the community driver: what its checkpoint holds, set against claims and slices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claimwright.dra.kube import RESOURCE_CLAIMS, RESOURCE_SLICES, Resource
from claimwright.driver.checkpoints.adopting import Adopter
from claimwright.driver.checkpoints.decoding import Checkpoint
from claimwright.driver.entries import Entry
from claimwright.driver.planning import Planner
from claimwright.driver.steps import Step
from claimwright.driver.tools.claim_spec import specs_in


@dataclass(frozen=True)
class GpuTakeOver:
    """Takes over claims for GPUs; `before` tells what a step of ours would have found before that driver acted."""

    planner: Planner
    cdi_folder: Path
    before: Callable[[Step], Mapping[str, Any]] = lambda _: {}

    async def __call__(
        self, checkpoint: Checkpoint, listed: Callable[[Resource], Awaitable[list[dict[str, Any]]]]
    ) -> dict[str, Entry]:
        """Return the checkpoint's claims as ours; `listed` reads all objects of a kind."""
        claims = {
            str((item.get("metadata") or {}).get("uid")): item for item in await listed(RESOURCE_CLAIMS)
        }
        specs = {uid for uid, _ in specs_in(self.cdi_folder)}
        static = frozenset(self._static_partitions(await listed(RESOURCE_SLICES)))
        return Adopter(self.planner, claims, static, specs.__contains__, self.before).adopt(checkpoint)

    def _static_partitions(self, slices: list[dict[str, Any]]) -> Iterator[str]:
        """Yield the partitions that the other driver published with a uuid, as only those have that it found."""
        for item in slices:
            spec = item.get("spec") or {}
            if (
                spec.get("driver") != self.planner.driver
                or (spec.get("pool") or {}).get("name") != self.planner.pool
            ):
                continue
            for device in spec.get("devices") or ():
                attributes = device.get("attributes") or (device.get("basic") or {}).get("attributes") or {}
                if "uuid" in attributes and (attributes.get("type") or {}).get("string") == "mig":
                    yield str(device["name"])
