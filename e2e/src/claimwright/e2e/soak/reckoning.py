"""What may be held at once, told from what is published and from what containers get; the driver is not asked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from claimwright.dra.quantities import Quantity
from claimwright.dra.slices import Capacity, CounterSet, Device

BUS: Final = "resource.kubernetes.io/pciBusID"
_WHOLE_GPU: Final = re.compile(r"/dev/nvidia\d+")


def room_for(device: Device, held: Sequence[Device], sets: Mapping[str, CounterSet]) -> str:
    """Return why a claim must not have `device` beside those that are held, nothing when it may."""
    for other in held:
        if _excludes(other, device):
            return f"{device.name} beside {other.name}"
    shares = sum(other.name == device.name for other in held)
    if device.allow_multiple_allocations and shares >= _most_shares(device):
        return f"{device.name}: all {shares} shares are held"
    short = _short_of([*held, device], sets)
    return f"{device.name}: too few {short}" if short else ""


def _most_shares(device: Device) -> int:
    capacity = device.capacity["vgpus"]
    return int((capacity.value if isinstance(capacity, Capacity) else capacity).value)


def _excludes(one: Device, other: Device) -> bool:
    if one.name == other.name:
        return not one.allow_multiple_allocations
    if one.attributes.get(BUS) != other.attributes.get(BUS):
        return False
    mine, theirs = _single(one), _single(other)
    return not (mine and theirs) or not mine.isdisjoint(theirs)


def _short_of(devices: Sequence[Device], sets: Mapping[str, CounterSet]) -> str:
    """Return a counter that has not enough for all, as the scheduler reckons: shares of a device take it once.

    A set that is not published any more, of a GPU that a driver since started cannot read, is nobody's limit.
    """
    taken: Counter[tuple[str, str]] = Counter()
    for device in {each.name: each for each in devices}.values():
        for consumption in device.consumes_counters:
            for name, amount in consumption.counters.items():
                taken[consumption.counter_set, name] += int(amount.value)
    short = (
        name
        for (which, name), amount in taken.items()
        if which in sets and amount > sets[which].counters[name].value
    )
    return next(short, "")


def _single(device: Device) -> set[str]:
    """Return the counters of which there is one, such as memory slices; a device without any takes the whole."""
    return {
        name
        for consumption in device.consumes_counters
        for name, amount in consumption.counters.items()
        if name.startswith(("memory-slice-", "vgpu-slot-")) and amount == Quantity.parse("1")
    }


@dataclass(frozen=True)
class Handed:
    """The device nodes that a claim's containers get and nobody else may; `part_of` are GPUs that it has a part of."""

    own: frozenset[str]
    part_of: frozenset[str] = frozenset()

    def overlaps(self, other: Handed) -> frozenset[str]:
        """Return the nodes that both have, though only one may."""
        return (self.own & (other.own | other.part_of)) | (other.own & self.part_of)


def handed(paths: Iterable[str]) -> Handed:
    """Sort device nodes: a partition has capabilities of its own and its GPU's node, others the whole or a group."""
    every = frozenset(paths)
    gpus = frozenset(path for path in every if _WHOLE_GPU.fullmatch(path))
    capabilities = frozenset(path for path in every if "/nvidia-caps/" in path)
    groups = frozenset(path for path in every if path.startswith("/dev/vfio/")) - {"/dev/vfio/vfio"}
    return Handed(capabilities, gpus) if capabilities else Handed(gpus | groups)
