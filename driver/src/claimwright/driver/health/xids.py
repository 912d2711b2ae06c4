"""XIDs that GPUs reported: what is remembered of each, how bad it is, and when it is over; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from claimwright.dra.slices import TaintEffect
from claimwright.driver.health.ailments import XID, Ailment, Instance
from claimwright.driver.inventory import Gpu
from claimwright.driver.ports import GpuEvent

# Faults of applications, which the community driver and NVIDIA's device plugin ignore as well.
OF_APPLICATIONS: Final = frozenset({13, 31, 43, 45, 68, 109})
# How long an XID that asks for nothing stays to be seen.
INFORMATIVE_SECONDS: Final = 600.0


@dataclass(frozen=True)
class XidPolicy:
    """Which XIDs the operator ignores; what they ask for is ignored with them."""

    ignored: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, text: str) -> XidPolicy:
        """Read `13,31`; the settings have checked it."""
        return cls(frozenset(int(word) for word in text.split(",") if word.strip()))

    def harmless(self, xid: int) -> bool:
        """Whether the XID alone makes no GPU unhealthy."""
        return xid in OF_APPLICATIONS or xid in self.ignored


@dataclass(frozen=True)
class XidRecord:
    """An XID of a GPU (PCI address and uuid) or of one partition of it, and when it came last.

    `asked` tells that the driver asked for a recovery since: when it no longer does, the XID is over.
    """

    gpu: str
    uuid: str
    xid: int
    at: float
    gpu_instance: int | None = None
    instance: Instance | None = None
    asked: bool = False


def record_of(event: GpuEvent, gpus: Iterable[Gpu], now: float) -> XidRecord | None:
    """Return what to remember of an event; None for GPUs and partitions that are not there."""
    gpu = next((gpu for gpu in gpus if gpu.uuid == event.gpu_uuid), None)
    if gpu is None or event.xid is None:
        return None
    if event.gpu_instance is None:
        return XidRecord(gpu.pci_bus_id, gpu.uuid, event.xid, now)
    instance = _instances(gpu).get(event.gpu_instance)
    if instance is None:
        return None
    return XidRecord(gpu.pci_bus_id, gpu.uuid, event.xid, now, event.gpu_instance, instance)


def still_true(
    records: Iterable[XidRecord],
    gpus: Mapping[str, Gpu],
    came_back: frozenset[str],
    policy: XidPolicy,
    now: float,
) -> tuple[XidRecord, ...]:
    """Return the records that hold after a reading; `came_back` are GPUs that were reset or plugged in again."""
    kept = (
        _after(record, gpus.get(record.gpu), policy, now) for record in records if record.gpu not in came_back
    )
    return tuple(record for record in kept if record is not None)


def xid_ailments(
    records: Iterable[XidRecord], gpus: Mapping[str, Gpu], policy: XidPolicy
) -> tuple[Ailment, ...]:
    """Return the ailments of the records, oldest first."""
    return tuple(
        Ailment(
            XID,
            effect_of(record, gpus[record.gpu], policy),
            str(record.xid),
            f"XID {record.xid}",
            record.gpu,
            record.instance,
        )
        for record in sorted(records, key=lambda record: record.at)
    )


def effect_of(record: XidRecord, gpu: Gpu, policy: XidPolicy) -> TaintEffect:
    """Say how bad an XID is: as bad as what the driver asks for; where it cannot say, any XID of hardware counts."""
    if policy.harmless(record.xid):
        return "None"
    if gpu.lost or gpu.condition.recovery_action is None:
        return "NoSchedule"
    return "NoSchedule" if gpu.condition.recovery_action else "None"


def _after(record: XidRecord, gpu: Gpu | None, policy: XidPolicy, now: float) -> XidRecord | None:
    """Return the record as it is after a reading of its GPU, None when it is over."""
    if gpu is None or gpu.uuid != record.uuid:
        return None  # pulled out, given away, or another board in its place
    if gpu.lost or gpu.unreadable:
        return record
    if record.gpu_instance is not None and _instances(gpu).get(record.gpu_instance) != record.instance:
        return None  # a partition takes what was wrong with it along
    action = gpu.condition.recovery_action
    if action:
        return replace(record, asked=True)
    if action == 0 and record.asked:
        return None
    lapsed = now - record.at > INFORMATIVE_SECONDS and effect_of(record, gpu, policy) == "None"
    return None if lapsed else record


def _instances(gpu: Gpu) -> dict[int, Instance]:
    partitions = gpu.mig.partitions if gpu.mig is not None else ()
    return {each.gpu_instance: Instance(each.profile_id, each.placement.start) for each in partitions}
