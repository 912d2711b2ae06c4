"""How a pool of devices becomes ResourceSlices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, TypeVar

from claimwright.dra.slices.devices import CounterSet, Device, counters_object
from claimwright.dra.slices.limits import (
    COUNTER_SETS_PER_SLICE,
    DEVICES_PER_SLICE,
    DEVICES_PER_SLICE_WITH_EXTRAS,
    InvalidSlice,
    Violation,
    violations,
)

Item = TypeVar("Item")
_INDEX_DIGITS: Final = 5
_INDEX: Final = re.compile(r"^([0-9a-f]{5})-")
# The API server appends five characters of its own; a name has at most 253.
_GENERATED_PREFIX: Final = 248


# Where devices with counters go: as closely as they fit; in slices of their own for each set, so that a change of one
# set's devices is one write; or, for Kubernetes 1.34 (alpha), in one slice with the set itself.
CounterLayout: TypeAlias = Literal["packed", "per-set", "beside"]


@dataclass(frozen=True, slots=True)
class Pool:
    """The devices that a driver publishes together; list order is the scheduler's order of preference.

    At most one of `node_name`, `node_selector`, `all_nodes` and `per_device_node_selection` is set; none of
    them means the node of the publisher.
    """

    name: str
    devices: tuple[Device, ...] = ()
    shared_counters: tuple[CounterSet, ...] = ()
    node_name: str | None = None
    node_selector: Mapping[str, Any] | None = None
    all_nodes: bool = False
    per_device_node_selection: bool = False
    counter_layout: CounterLayout = "packed"
    partition_type_attribute: str | None = None
    skip_node_operations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeOwner:
    """The Node that owns a driver's slices, so that they go when it goes."""

    name: str
    uid: str

    def to_object(self) -> dict[str, Any]:
        """Write the owner reference."""
        return {"apiVersion": "v1", "kind": "Node", "name": self.name, "uid": self.uid, "controller": True}


def plan_slices(
    driver: str, pool: Pool, generation: int, owner: NodeOwner | None = None
) -> list[dict[str, Any]]:
    """Give the ResourceSlice objects of a pool, counter sets first; pure and deterministic.

    A slice holds at most 128 devices, 64 where any device of the pool has taints, counters or lists.
    A pool without devices is one empty slice. Raises InvalidSlice, which names every field at fault.
    """
    contents = _contents(pool) or [{}]
    placement = _placement(pool, owner)
    slices = []
    for index, content in enumerate(contents):
        spec = {
            "driver": driver,
            "pool": {"name": pool.name, "generation": generation, "resourceSliceCount": len(contents)},
            **placement,
            **content,
        }
        slices.append(_slice(spec, generate_name(index, driver, owner.name if owner else pool.name), owner))
    _check(pool, slices)
    return slices


def generate_name(index: int, driver: str, place: str) -> str:
    """Give the `metadata.generateName` of a slice: its index in five hex digits orders the allocation."""
    return f"{index:0{_INDEX_DIGITS}x}-{driver}-{place.replace('/', '-')}-"[:_GENERATED_PREFIX]


def index_of(name: str) -> int | None:
    """Read the index back from a slice's name; None where the name has none."""
    match = _INDEX.match(name)
    return int(match[1], 16) if match else None


def _slice(spec: dict[str, Any], prefix: str, owner: NodeOwner | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"generateName": prefix}
    if owner is not None:
        metadata["ownerReferences"] = [owner.to_object()]
    return {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": metadata, "spec": spec}


def _placement(pool: Pool, owner: NodeOwner | None) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "nodeName": pool.node_name,
        "nodeSelector": pool.node_selector,
        "allNodes": pool.all_nodes,
        "perDeviceNodeSelection": pool.per_device_node_selection,
    }
    given = {name: value for name, value in fields.items() if value}
    if not given and owner is not None:
        given = {"nodeName": owner.name}
    extras = {
        "partitionTypeAttribute": pool.partition_type_attribute,
        "skipNodeOperations": list(pool.skip_node_operations),
    }
    return given | {name: value for name, value in extras.items() if value}


def _contents(pool: Pool) -> list[dict[str, Any]]:
    if pool.counter_layout == "packed":
        return [*_sets(pool.shared_counters), *_devices(pool, pool.devices)]
    by_set, rest = _by_set(pool)
    if pool.counter_layout == "per-set":
        parts = [part for devices in by_set.values() for part in _devices(pool, devices)]
        return [*_sets(pool.shared_counters), *parts, *_devices(pool, rest)]
    mixed = [
        {"sharedCounters": [_counter_set(item)], "devices": [each.to_object() for each in by_set[item.name]]}
        for item in pool.shared_counters
    ]
    return [*mixed, *_devices(pool, rest)]


def _by_set(pool: Pool) -> tuple[dict[str, list[Device]], list[Device]]:
    """Give the devices by the first set that they take from, and those that take from none."""
    by_set: dict[str, list[Device]] = {item.name: [] for item in pool.shared_counters}
    rest: list[Device] = []
    for device in pool.devices:
        taken = next(
            (each.counter_set for each in device.consumes_counters if each.counter_set in by_set), None
        )
        (rest if taken is None else by_set[taken]).append(device)
    return by_set, rest


def _sets(sets: Sequence[CounterSet]) -> list[dict[str, Any]]:
    return [
        {"sharedCounters": [_counter_set(item) for item in part]}
        for part in _cut(sets, COUNTER_SETS_PER_SLICE)
    ]


def _devices(pool: Pool, devices: Sequence[Device]) -> list[dict[str, Any]]:
    # One limit for the whole pool: a taint that comes and goes must not move devices between many slices.
    heavy = any(_has_extras(device) for device in pool.devices)
    size = DEVICES_PER_SLICE_WITH_EXTRAS if heavy else DEVICES_PER_SLICE
    return [{"devices": [device.to_object() for device in part]} for part in _cut(devices, size)]


def _cut(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[at : at + size] for at in range(0, len(items), size)]


def _has_extras(device: Device) -> bool:
    lists = any(isinstance(value, tuple) for value in device.attributes.values())
    return bool(device.taints or device.consumes_counters or lists)


def _counter_set(counter_set: CounterSet) -> dict[str, Any]:
    return {"name": counter_set.name, "counters": counters_object(counter_set.counters)}


def _check(pool: Pool, slices: list[dict[str, Any]]) -> None:
    mixed = pool.counter_layout == "beside"
    found = [
        violation for item in slices for violation in violations(item["spec"], counters_beside_devices=mixed)
    ]
    found += _duplicates("devices", [device.name for device in pool.devices])
    found += _duplicates("sharedCounters", [item.name for item in pool.shared_counters])
    if found:
        raise InvalidSlice(pool.name, tuple({str(violation): violation for violation in found}.values()))


def _duplicates(field: str, names: list[str]) -> list[Violation]:
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    return [Violation(f"{field}[{name}].name", name, "unique in the pool") for name in twice]
