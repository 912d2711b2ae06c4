"""One device of a ResourceSlice (resource.k8s.io/v1, `spec.devices[]`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from claimwright.dra.quantities import Quantity
from claimwright.dra.slices.leaves import leaf

TaintEffect = Literal["None", "NoSchedule", "NoExecute"]


class Version(str):
    """A semantic version 2.0.0, such as `580.126.20`."""

    __slots__ = ()


AttributeValue: TypeAlias = int | bool | str | Version
# A tuple is a list attribute (gate DRAListTypeAttributes); its items are of one type.
Attribute: TypeAlias = AttributeValue | tuple[AttributeValue, ...]


@dataclass(frozen=True, slots=True)
class ValidRange:
    """Amounts from `min` up to `max` in steps of `step`."""

    min: Quantity
    max: Quantity | None = None
    step: Quantity | None = None


@dataclass(frozen=True, slots=True)
class RequestPolicy:
    """How much of a capacity one share may take, and how much it takes by default."""

    default: Quantity | None = None
    valid_values: tuple[Quantity, ...] = ()
    valid_range: ValidRange | None = None


@dataclass(frozen=True, slots=True)
class Capacity:
    """An amount that shares of a device divide."""

    value: Quantity
    request_policy: RequestPolicy | None = None


@dataclass(frozen=True, slots=True)
class Taint:
    """A reason not to use a device; the API server fills `time_added` (RFC 3339) when it is missing."""

    key: str
    effect: TaintEffect
    value: str = ""
    time_added: str | None = None


@dataclass(frozen=True, slots=True)
class CounterSet:
    """Amounts that the devices of a pool share, for example the slices of one partitionable GPU."""

    name: str
    counters: Mapping[str, Quantity]


@dataclass(frozen=True, slots=True)
class CounterConsumption:
    """What a device takes from one counter set."""

    counter_set: str
    counters: Mapping[str, Quantity]


@dataclass(frozen=True, slots=True)
class Device:
    """A device as drivers publish it; names without a domain are the driver's own."""

    name: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    capacity: Mapping[str, Quantity | Capacity] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    consumes_counters: tuple[CounterConsumption, ...] = ()
    allow_multiple_allocations: bool = False
    binds_to_node: bool = False
    binding_conditions: tuple[str, ...] = ()
    binding_failure_conditions: tuple[str, ...] = ()
    node_name: str | None = None
    node_selector: Mapping[str, Any] | None = None
    all_nodes: bool = False

    def to_object(self) -> dict[str, Any]:
        """Write it as the API wants it; what is at its default stays out."""
        fields: dict[str, Any] = {
            "attributes": {name: _attribute(value) for name, value in self.attributes.items()},
            "capacity": {name: _capacity(value) for name, value in self.capacity.items()},
            "taints": [_taint(taint) for taint in self.taints],
            "consumesCounters": [
                {"counterSet": item.counter_set, "counters": counters_object(item.counters)}
                for item in self.consumes_counters
            ],
            "allowMultipleAllocations": self.allow_multiple_allocations,
            "bindsToNode": self.binds_to_node,
            "bindingConditions": list(self.binding_conditions),
            "bindingFailureConditions": list(self.binding_failure_conditions),
            "nodeName": self.node_name,
            "nodeSelector": self.node_selector,
            "allNodes": self.all_nodes,
        }
        return {"name": self.name, **{name: value for name, value in fields.items() if value}}


def attribute_object(value: Attribute) -> dict[str, Any]:
    """Write one attribute value, such as `{"int": 3}`.

    It is the caller's alone and not kept: what claims are given has values that never come again.
    """
    if isinstance(value, tuple):
        kind = _kind(value[0]) if value else "string"
        return {f"{kind}s": [str(item) if kind == "version" else item for item in value]}
    kind = _kind(value)
    return {kind: str(value) if kind == "version" else value}


def counters_object(counters: Mapping[str, Quantity]) -> dict[str, Any]:
    """Write counters, such as `{"memory": {"value": "80Gi"}}`; treat the values as read-only."""
    return {name: leaf("value", str(value)) for name, value in counters.items()}


def _attribute(value: Attribute) -> dict[str, Any]:
    """Write one value of a device that is published, of which many have the same."""
    ((kind, written),) = attribute_object(value).items()
    return {kind: written} if isinstance(written, list) else leaf(kind, written)


def _kind(value: AttributeValue) -> str:
    if isinstance(value, bool):  # before int, which bool is too
        return "bool"
    if isinstance(value, Version):
        return "version"
    return "int" if isinstance(value, int) else "string"


def _capacity(capacity: Quantity | Capacity) -> dict[str, Any]:
    if isinstance(capacity, Quantity):
        return leaf("value", str(capacity))
    found: dict[str, Any] = {"value": str(capacity.value)}
    if capacity.request_policy is not None:
        found["requestPolicy"] = _policy(capacity.request_policy)
    return found


def _policy(policy: RequestPolicy) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if policy.default is not None:
        found["default"] = str(policy.default)
    if policy.valid_values:
        found["validValues"] = [str(value) for value in policy.valid_values]
    if policy.valid_range is not None:
        limits = policy.valid_range
        amounts = {"min": limits.min, "max": limits.max, "step": limits.step}
        found["validRange"] = {name: str(value) for name, value in amounts.items() if value is not None}
    return found


def _taint(taint: Taint) -> dict[str, Any]:
    found = {"key": taint.key, "value": taint.value, "effect": taint.effect, "timeAdded": taint.time_added}
    return {name: value for name, value in found.items() if value}
