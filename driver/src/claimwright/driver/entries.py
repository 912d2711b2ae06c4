"""What the driver remembers of a claim, as values, and how the journal spells it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from claimwright.dra.claims import ClaimReference, ClaimUid
from claimwright.dra.slices import Attribute, attribute_object, attribute_of
from claimwright.driver.steps import Step


class State(enum.Enum):
    """Where a claim is. PREPARING and RELEASING are finished or rolled back when the driver starts.

    A claim in WAITING has begun and needs what others do meanwhile, on other nodes perhaps; the next prepare goes on
    with it, a release undoes it.
    """

    PREPARING = "preparing"
    WAITING = "waiting"
    PREPARED = "prepared"
    RELEASING = "releasing"


@dataclass(frozen=True)
class HeldDevice:
    """One allocated device of a claim.

    `hardware` is the GPU's PCI address, which is locked; `parts` are the pieces of it that the device takes, none
    meaning all. `config` is the config that was applied to it, spelled canonically; shares of one device have one
    config. `metadata` is what consumers such as virtual machines read of the device (KEP-5304).
    """

    request: str
    pool: str
    device: str
    hardware: str
    cdi_ids: tuple[str, ...]
    kind: str = "gpu"
    admin_access: bool = False
    share_id: str | None = None
    parts: frozenset[str] = frozenset()
    metadata: Mapping[str, Attribute] = field(default_factory=dict)
    config: str = ""

    def excludes(self, other: HeldDevice) -> bool:
        """Tell whether both cannot be held by different claims at once."""
        if self.hardware != other.hardware or self.admin_access or other.admin_access:
            return False
        if self.shares_with(other):
            return self.config != other.config
        if self.kind != other.kind:
            return True  # parts are in words of one kind: vGPUs and partitions do not share a GPU
        return not (self.parts and other.parts) or not self.parts.isdisjoint(other.parts)

    def shares_with(self, other: HeldDevice) -> bool:
        """Tell whether both are shares of one device."""
        return self.device == other.device and bool(self.share_id and other.share_id)


@dataclass(frozen=True)
class Entry:
    """One claim: its devices, its steps, and those steps without a visible trace that were begun."""

    claim: ClaimReference
    devices: tuple[HeldDevice, ...]
    steps: tuple[Step, ...]
    state: State = State.PREPARING
    acted: frozenset[int] = frozenset()

    @property
    def uid(self) -> ClaimUid:
        """The claim's uid."""
        return self.claim.uid

    def hardware(self) -> frozenset[str]:
        """Return the GPUs that its steps may change: those of all devices, admin access apart."""
        return frozenset(held.hardware for held in self.devices if not held.admin_access)

    def conflict(self, other: Entry) -> tuple[HeldDevice, HeldDevice] | None:
        """Return the first own device that cannot be held while `other` is, and what of `other` excludes it."""
        pairs = ((mine, theirs) for mine in self.devices for theirs in other.devices)
        return next(((mine, theirs) for mine, theirs in pairs if mine.excludes(theirs)), None)

    def acting(self, number: int, found: Mapping[str, Any]) -> Entry:
        """Return the same entry with one step begun, which keeps what it found among its arguments."""
        step = self.steps[number]
        begun = Step(step.tool, {**step.arguments, **found})
        steps = (*self.steps[:number], begun, *self.steps[number + 1 :])
        return replace(self, steps=steps, acted=self.acted | {number})

    def carries_out(self, plan: Entry) -> bool:
        """Tell whether this is `plan`, begun: the same devices and steps, apart from what steps found."""
        steps = zip(self.steps, plan.steps, strict=False)
        return (
            self.devices == plan.devices
            and len(self.steps) == len(plan.steps)
            and all(
                mine.tool == its.tool and its.arguments.items() <= mine.arguments.items()
                for mine, its in steps
            )
        )

    def at(self, state: State) -> Entry:
        """Return the same entry in another state."""
        return replace(self, state=state)


def encode_entry(entry: Entry) -> dict[str, Any]:
    """Spell the beginning of an entry for the journal."""
    return {
        "claim": {"namespace": entry.claim.namespace, "name": entry.claim.name, "uid": entry.claim.uid},
        "devices": [_encode_device(held) for held in entry.devices],
        "steps": [{"tool": step.tool, "arguments": dict(step.arguments)} for step in entry.steps],
    }


def decode_entry(record: Mapping[str, Any]) -> Entry:
    """Read what `encode_entry` wrote; KeyError, TypeError or ValueError when it is something else."""
    claim = record["claim"]
    return Entry(
        claim=ClaimReference(str(claim["namespace"]), str(claim["name"]), ClaimUid(str(claim["uid"]))),
        devices=tuple(_decode_device(held) for held in record["devices"]),
        steps=tuple(Step(str(step["tool"]), dict(step["arguments"])) for step in record["steps"]),
    )


def _encode_device(held: HeldDevice) -> dict[str, Any]:
    record: dict[str, Any] = {
        "request": held.request,
        "pool": held.pool,
        "device": held.device,
        "hardware": held.hardware,
        "cdi": list(held.cdi_ids),
        "kind": held.kind,
    }
    if held.admin_access:
        record["admin"] = True
    if held.share_id is not None:
        record["share"] = held.share_id
    if held.parts:
        record["parts"] = sorted(held.parts)
    if held.config:
        record["config"] = held.config
    if held.metadata:
        record["metadata"] = {name: attribute_object(value) for name, value in held.metadata.items()}
    return record


def _decode_device(record: Mapping[str, Any]) -> HeldDevice:
    share = record.get("share")
    return HeldDevice(
        request=str(record["request"]),
        pool=str(record["pool"]),
        device=str(record["device"]),
        hardware=str(record["hardware"]),
        cdi_ids=tuple(str(cdi_id) for cdi_id in record["cdi"]),
        kind=str(record.get("kind", "gpu")),
        admin_access=bool(record.get("admin", False)),
        share_id=None if share is None else str(share),
        parts=frozenset(str(part) for part in record.get("parts", ())),
        config=str(record.get("config", "")),
        metadata={name: attribute_of(value) for name, value in record.get("metadata", {}).items()},
    )
