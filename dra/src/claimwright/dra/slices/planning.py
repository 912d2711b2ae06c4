"""How a pool of devices becomes ResourceSlices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from claimwright.dra.slices.devices import CounterSet, Device, counters_object
from claimwright.dra.slices.limits import (
    COUNTER_SETS_PER_SLICE,
    DEVICES_PER_SLICE,
    DEVICES_PER_SLICE_WITH_EXTRAS,
    InvalidSlice,
    Violation,
    violations,
)

_INDEX_DIGITS: Final = 5
_INDEX: Final = re.compile(r"^([0-9a-f]{5})-")
# The API server appends five characters of its own; a name has at most 253.
_GENERATED_PREFIX: Final = 248


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
    contents = [
        *({"sharedCounters": [_counter_set(item) for item in part]} for part in _counter_parts(pool)),
        *({"devices": [device.to_object() for device in part]} for part in _device_parts(pool)),
    ] or [{}]
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


def _counter_parts(pool: Pool) -> list[tuple[CounterSet, ...]]:
    sets = pool.shared_counters
    return [sets[at : at + COUNTER_SETS_PER_SLICE] for at in range(0, len(sets), COUNTER_SETS_PER_SLICE)]


def _device_parts(pool: Pool) -> list[tuple[Device, ...]]:
    # One limit for the whole pool: a taint that comes and goes must not move devices between many slices.
    heavy = any(_has_extras(device) for device in pool.devices)
    size = DEVICES_PER_SLICE_WITH_EXTRAS if heavy else DEVICES_PER_SLICE
    return [pool.devices[at : at + size] for at in range(0, len(pool.devices), size)]


def _has_extras(device: Device) -> bool:
    lists = any(isinstance(value, tuple) for value in device.attributes.values())
    return bool(device.taints or device.consumes_counters or lists)


def _counter_set(counter_set: CounterSet) -> dict[str, Any]:
    return {"name": counter_set.name, "counters": counters_object(counter_set.counters)}


def _check(pool: Pool, slices: list[dict[str, Any]]) -> None:
    found = [violation for item in slices for violation in violations(item["spec"])]
    found += _duplicates("devices", [device.name for device in pool.devices])
    found += _duplicates("sharedCounters", [item.name for item in pool.shared_counters])
    if found:
        raise InvalidSlice(pool.name, tuple({str(violation): violation for violation in found}.values()))


def _duplicates(field: str, names: list[str]) -> list[Violation]:
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    return [Violation(f"{field}[{name}].name", name, "unique in the pool") for name in twice]
