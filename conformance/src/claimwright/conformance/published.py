"""The driver's pools as the scheduler reads them, and a choice of devices that it could make.

The suite acts as the scheduler, so it must never allocate what a scheduler would not: incomplete pools, tainted
devices, devices whose counters are used up, one physical device twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from claimwright.conformance.declaration import Allocation
from claimwright.dra.quantities import parse_quantity

_BLOCKING_EFFECTS: Final = frozenset({"NoSchedule", "NoExecute"})
CounterName = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class PublishedDevice:
    """One device of a pool, with the parts that an allocation depends on."""

    pool: str
    name: str
    attributes: Mapping[str, Any] = field(hash=False)
    consumes: Mapping[CounterName, float] = field(hash=False)
    blocked: bool = False
    multiple: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False)

    def attribute(self, name: str, driver: str) -> Any:  # noqa: ANN401 - int, bool, str or a list of them
        """Return an attribute's value by its name, qualified or not; None when it has none."""
        for key in (name, f"{driver}/{name}"):
            if key in self.attributes:
                return next(iter(self.attributes[key].values()), None)
        return None


@dataclass(frozen=True, slots=True)
class PublishedPool:
    """The newest generation of one pool."""

    name: str
    generation: int
    expected_slices: int
    slices: tuple[dict[str, Any], ...]
    devices: tuple[PublishedDevice, ...]
    counters: Mapping[CounterName, float]

    @property
    def complete(self) -> bool:
        """Tell whether all slices of the newest generation are there."""
        return len(self.slices) == self.expected_slices


def read_pools(slices: Iterable[dict[str, Any]]) -> tuple[PublishedPool, ...]:
    """Group slices into pools and keep the highest generation of each, as the allocator does."""
    by_pool: dict[str, list[dict[str, Any]]] = {}
    for one in slices:
        by_pool.setdefault(one["spec"]["pool"]["name"], []).append(one)
    return tuple(_read_pool(name, by_pool[name]) for name in sorted(by_pool))


def _read_pool(name: str, slices: Sequence[dict[str, Any]]) -> PublishedPool:
    newest = max(one["spec"]["pool"].get("generation", 0) for one in slices)
    kept = sorted(
        (one for one in slices if one["spec"]["pool"].get("generation", 0) == newest),
        key=lambda one: str(one["metadata"]["name"]),
    )
    devices = tuple(_read_device(name, raw) for one in kept for raw in one["spec"].get("devices") or ())
    counters = {
        (name, counter_set["name"], counter): _amount(value)
        for one in kept
        for counter_set in one["spec"].get("sharedCounters") or ()
        for counter, value in counter_set["counters"].items()
    }
    expected = kept[0]["spec"]["pool"].get("resourceSliceCount", 0)
    return PublishedPool(name, newest, expected, tuple(kept), devices, counters)


def _read_device(pool: str, raw: dict[str, Any]) -> PublishedDevice:
    consumes = {
        (pool, consumed["counterSet"], counter): _amount(value)
        for consumed in raw.get("consumesCounters") or ()
        for counter, value in consumed["counters"].items()
    }
    tainted = any(taint.get("effect") in _BLOCKING_EFFECTS for taint in raw.get("taints") or ())
    blocked = tainted or bool(raw.get("bindingConditions"))
    multiple = bool(raw.get("allowMultipleAllocations"))
    return PublishedDevice(pool, raw["name"], raw.get("attributes") or {}, consumes, blocked, multiple, raw)


def _amount(value: dict[str, Any]) -> float:
    return float(parse_quantity(str(value["value"])))


@dataclass(frozen=True, slots=True)
class Choice:
    """What may be chosen: the declaration's filter and the attribute that tells physical devices apart."""

    driver: str
    allocation: Allocation
    identity: str | None = None

    def admits(self, device: PublishedDevice) -> bool:
        """Tell whether the declaration lets the suite allocate this device."""
        if self.allocation.pool not in (None, device.pool) or device.blocked or device.multiple:
            return False
        wanted = self.allocation.match.items()
        return all(device.attribute(name, self.driver) == value for name, value in wanted)


def choose_devices(
    pools: Sequence[PublishedPool], choice: Choice, count: int, *, taken: Sequence[PublishedDevice] = ()
) -> tuple[PublishedDevice, ...]:
    """Return up to `count` devices that can be held at the same time, in the pools' own order."""
    limits = {name: value for pool in pools for name, value in pool.counters.items()}
    held = list(taken)
    chosen: list[PublishedDevice] = []
    for device in (one for pool in pools if pool.complete for one in pool.devices):
        if len(chosen) == count:
            break
        if choice.admits(device) and _fits(device, held, limits, choice):
            chosen.append(device)
            held.append(device)
    return tuple(chosen)


def _fits(
    device: PublishedDevice,
    held: Sequence[PublishedDevice],
    limits: Mapping[CounterName, float],
    choice: Choice,
) -> bool:
    """Tell whether a device can be held beside the others: another piece of hardware, and counters left."""
    for other in held:
        if (other.pool, other.name) == (device.pool, device.name):
            return False
        identity = _identity(device, choice)
        if identity is not None and identity == _identity(other, choice):
            return False
    used = {name: sum(other.consumes.get(name, 0) for other in held) for name in device.consumes}
    return all(used[name] + amount <= limits.get(name, 0) for name, amount in device.consumes.items())


def _identity(device: PublishedDevice, choice: Choice) -> object:
    return device.attribute(choice.identity, choice.driver) if choice.identity else None
