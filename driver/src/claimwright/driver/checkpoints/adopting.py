"""From checkpoint to claims of ours: the same devices under the same CDI ids, and steps whose undoing undoes theirs."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from claimwright.dra.claims import Claim, ClaimError, ClaimReference, ClaimUid
from claimwright.driver.checkpoints.decoding import Checkpoint, CheckpointClaim, CheckpointDevice
from claimwright.driver.entries import Entry, HeldDevice, State
from claimwright.driver.errors import ClaimRefused
from claimwright.driver.inventory import Gpu
from claimwright.driver.planning import Planner
from claimwright.driver.steps import Step
from claimwright.driver.strategies import INTERVALS
from claimwright.driver.tools import claim_spec, mig_mode, mig_partition, time_slice
from claimwright.driver.tools.community_mps import community_mps

logger = logging.getLogger(__name__)
# Name of a partition: `gpu-<minor>-mig-<profile>-<GPU instance profile id>-<first memory slice>`.
_PARTITION: Final = re.compile(r"gpu-(\d+)-mig-.+-(\d+)-(\d+)")
# What the community driver did as this driver does it; other steps of a plan (an MPS daemon of ours) it did otherwise.
_OURS_ALONE: Final = frozenset({"mps-daemon"})


@dataclass(frozen=True)
class Adopter:
    """Adopts what a checkpoint holds.

    `claims` are the API server's by uid, `static` the names of partitions that the community driver published as made
    by an administrator, `has_spec` tells by uid whether a claim's CDI spec is there, and `before` what a step of ours
    would have found before the community driver acted.
    """

    planner: Planner
    claims: Mapping[str, Mapping[str, Any]]
    static: frozenset[str]
    has_spec: Callable[[str], bool]
    before: Callable[[Step], Mapping[str, Any]]

    def adopt(self, checkpoint: Checkpoint) -> dict[str, Entry]:
        """Return the entries; those to be rolled back are in state RELEASING."""
        return {claim.uid: self._entry(claim) for claim in checkpoint.claims}

    def _entry(self, claim: CheckpointClaim) -> Entry:
        planned = self._plan(claim)
        steps = tuple(self._steps(claim, planned))
        state = State.PREPARED if self._is_held(claim) else State.RELEASING
        entry = Entry(planned.claim, tuple(_as_told(planned.devices, claim.devices)), steps, state)
        for number, step in enumerate(steps):
            entry = entry.acting(number, self.before(step))
        logger.info(
            "took over claim %s (%s) from the community driver: %s", entry.claim, claim.uid, state.value
        )
        return entry

    def _is_held(self, claim: CheckpointClaim) -> bool:
        """Tell whether containers may use the claim: begun ones are rolled back, as are those that are gone."""
        known = self.claims.get(claim.uid)
        if not claim.completed or known is None:
            return False
        return self.has_spec(claim.uid) or bool((known.get("status") or {}).get("reservedFor"))

    def _plan(self, claim: CheckpointClaim) -> Entry:
        reference = self._reference(claim)
        metadata = {"namespace": reference.namespace, "name": reference.name, "uid": claim.uid}
        known = self.claims.get(claim.uid) or {}
        try:
            planned = self.planner.plan(
                Claim.from_object({"metadata": metadata, "status": claim.status or known.get("status") or {}})
            )
        except (ClaimError, ClaimRefused) as error:
            logger.warning(
                "claim %s (%s) is taken over as the checkpoint tells it: %s", reference, claim.uid, error
            )
            planned = Entry(reference, tuple(map(self._held, claim.devices)), ())
        return replace(planned, claim=reference)

    def _reference(self, claim: CheckpointClaim) -> ClaimReference:
        metadata = (self.claims.get(claim.uid) or {}).get("metadata") or {}
        # One that is gone is rolled back at once; its name only has to be legible.
        namespace = str(metadata.get("namespace") or claim.namespace or "unknown")
        name = str(metadata.get("name") or claim.name or claim.uid)
        return ClaimReference(namespace, name, ClaimUid(claim.uid))

    def _held(self, device: CheckpointDevice) -> HeldDevice:
        gpu = self._gpu(device)
        return HeldDevice(
            request=device.requests[0] if device.requests else "",
            pool=device.pool,
            device=device.device,
            hardware=device.pci_address
            or (gpu.pci_bus_id if gpu is not None else f"unknown {device.device}"),
            cdi_ids=device.cdi_ids,
            kind=device.kind,
            share_id=device.share_id,
        )

    def _steps(self, claim: CheckpointClaim, planned: Entry) -> Iterator[Step]:
        remade = (mig_partition.TOOL, mig_mode.TOOL, time_slice.TOOL, claim_spec.TOOL)
        yield from (
            step for step in planned.steps if step.tool not in remade and step.tool not in _OURS_ALONE
        )
        yield from self._cuts(claim, planned)
        yield from self._time_slices(claim, planned)
        yield from (community_mps(daemon, uuids) for daemon, uuids in _mps(claim))
        spec = [step for step in planned.steps if step.tool == claim_spec.TOOL]
        yield spec[0] if spec else claim_spec.claim_spec(claim.uid, (), ())

    def _cuts(self, claim: CheckpointClaim, planned: Entry) -> Iterator[Step]:
        """Yield a step for each partition that the community driver made for the claim."""
        held = {device.device for device in claim.devices} or {device.device for device in planned.devices}
        for name in sorted(held - self.static):
            found = _PARTITION.fullmatch(name)
            gpu = found and next((gpu for gpu in self._gpus if gpu.minor == int(found[1])), None)
            if found is None or gpu is None or gpu.mig is None:
                continue
            profiles = (each for each in gpu.mig.profiles if each.profile_id == int(found[2]))
            places = (place for profile in profiles for place in profile.placements)
            for place in (place for place in places if place.start == int(found[3])):
                if gpu.switches_mig:
                    yield mig_mode.mig_mode(gpu.uuid, enabled=True)
                yield mig_partition.mig_partition(gpu.uuid, int(found[2]), place)

    def _time_slices(self, claim: CheckpointClaim, planned: Entry) -> Iterator[Step]:
        """Yield what resets the time slices that were set; an older file does not say, then the config does."""
        asked = {str(step.arguments["uuid"]): step for step in planned.steps if step.tool == time_slice.TOOL}
        told = {device.gpu_uuid: device.time_sliced for device in claim.devices if device.kind == "gpu"}
        for uuid in sorted({*asked, *told}):
            if told.get(uuid) or (told.get(uuid) is None and uuid in asked):
                yield asked.get(uuid) or Step(
                    time_slice.TOOL, {"uuid": uuid, "interval": INTERVALS["Default"]}
                )

    @property
    def _gpus(self) -> tuple[Gpu, ...]:
        return self.planner.stock.inventory.gpus

    def _gpu(self, device: CheckpointDevice) -> Gpu | None:
        return next((gpu for gpu in self._gpus if gpu.uuid == device.gpu_uuid), None)


def _as_told(planned: tuple[HeldDevice, ...], told: tuple[CheckpointDevice, ...]) -> Iterator[HeldDevice]:
    """Yield the devices with the CDI ids that running containers were given."""
    ids = {device.device: device.cdi_ids for device in told if device.cdi_ids}
    yield from (replace(held, cdi_ids=ids.get(held.device, held.cdi_ids)) for held in planned)


def _mps(claim: CheckpointClaim) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the MPS daemons of the claim, and the whole GPUs whose compute mode they changed."""
    for daemon in sorted({device.mps for device in claim.devices if device.mps}):
        yield (
            daemon,
            tuple(
                sorted({each.gpu_uuid for each in claim.devices if each.mps == daemon and each.kind == "gpu"})
            ),
        )
