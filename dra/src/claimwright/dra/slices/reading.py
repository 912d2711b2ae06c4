"""ResourceSlice objects read back as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from claimwright.dra.errors import InvalidValue
from claimwright.dra.quantities import MalformedQuantity, Quantity
from claimwright.dra.slices.devices import (
    Attribute,
    Capacity,
    CounterConsumption,
    CounterSet,
    Device,
    RequestPolicy,
    Taint,
    ValidRange,
    Version,
)


class MalformedSlice(InvalidValue):
    """A ResourceSlice object that cannot be read."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One ResourceSlice as it is stored."""

    name: str
    driver: str
    pool: str
    generation: int
    slice_count: int
    devices: tuple[Device, ...]
    shared_counters: tuple[CounterSet, ...]
    node_name: str | None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_object(cls, resource_slice: Mapping[str, Any]) -> Slice:
        """Read a ResourceSlice object; raises MalformedSlice."""
        name = str((resource_slice.get("metadata") or {}).get("name"))
        try:
            spec = resource_slice["spec"]
            pool = spec["pool"]
            return cls(
                name=name,
                driver=spec["driver"],
                pool=pool["name"],
                generation=int(pool.get("generation") or 0),
                slice_count=int(pool["resourceSliceCount"]),
                devices=tuple(_device(item) for item in spec.get("devices") or ()),
                shared_counters=tuple(
                    CounterSet(item["name"], _counters(item["counters"]))
                    for item in spec.get("sharedCounters") or ()
                ),
                node_name=spec.get("nodeName"),
                raw=resource_slice,
            )
        except KeyError as error:
            raise MalformedSlice(f"ResourceSlice {name}: the field {error.args[0]!r} is missing") from error
        except (TypeError, AttributeError, MalformedQuantity) as error:
            raise MalformedSlice(f"ResourceSlice {name}: {error}") from error


def _device(item: Mapping[str, Any]) -> Device:
    return Device(
        name=item["name"],
        attributes={name: attribute_of(value) for name, value in (item.get("attributes") or {}).items()},
        capacity={name: _capacity(value) for name, value in (item.get("capacity") or {}).items()},
        taints=tuple(
            Taint(taint["key"], taint["effect"], taint.get("value") or "", taint.get("timeAdded"))
            for taint in item.get("taints") or ()
        ),
        consumes_counters=tuple(
            CounterConsumption(part["counterSet"], _counters(part["counters"]))
            for part in item.get("consumesCounters") or ()
        ),
        allow_multiple_allocations=bool(item.get("allowMultipleAllocations")),
        binds_to_node=bool(item.get("bindsToNode")),
        binding_conditions=tuple(item.get("bindingConditions") or ()),
        binding_failure_conditions=tuple(item.get("bindingFailureConditions") or ()),
        node_name=item.get("nodeName"),
        node_selector=item.get("nodeSelector"),
        all_nodes=bool(item.get("allNodes")),
    )


def attribute_of(value: Mapping[str, Any]) -> Attribute:
    """Read one attribute value, such as `{"int": 3}`; raises MalformedSlice."""
    for kind, content in value.items():
        if kind in ("version", "versions"):
            return tuple(Version(item) for item in content) if kind == "versions" else Version(content)
        if content is not None:
            return tuple(content) if isinstance(content, list) else content
    raise MalformedSlice(f"an attribute has no value: {dict(value)!r}")


def _capacity(item: Mapping[str, Any]) -> Quantity | Capacity:
    value = Quantity.parse(str(item["value"]))
    policy = item.get("requestPolicy")
    return value if policy is None else Capacity(value, _policy(policy))


def _policy(policy: Mapping[str, Any]) -> RequestPolicy:
    limits = policy.get("validRange")
    return RequestPolicy(
        default=_optional(policy, "default"),
        valid_values=tuple(Quantity.parse(str(value)) for value in policy.get("validValues") or ()),
        valid_range=limits
        and ValidRange(
            Quantity.parse(str(limits["min"])), _optional(limits, "max"), _optional(limits, "step")
        ),
    )


def _optional(parent: Mapping[str, Any], key: str) -> Quantity | None:
    return None if parent.get(key) is None else Quantity.parse(str(parent[key]))


def _counters(counters: Mapping[str, Any]) -> dict[str, Quantity]:
    return {name: Quantity.parse(str(item["value"])) for name, item in counters.items()}
