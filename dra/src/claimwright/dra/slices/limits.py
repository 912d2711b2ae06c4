"""The API server's limits on ResourceSlices, checked before it sees them.

Source: the types of k8s.io/api `resource/v1` and their validation, as of Kubernetes 1.37. Works on plain API
objects, so that foreign slices can be judged with it as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from claimwright.dra.errors import InvalidValue
from claimwright.dra.quantities import MalformedQuantity, parse_quantity
from claimwright.dra.slices.policies import policy_faults

DEVICES_PER_SLICE: Final = 128
DEVICES_PER_SLICE_WITH_EXTRAS: Final = 64
COUNTER_SETS_PER_SLICE: Final = 8
COUNTERS_PER_SET: Final = 32
COUNTER_SETS_PER_DEVICE: Final = 2
ATTRIBUTES_AND_CAPACITIES: Final = 32
ATTRIBUTE_VALUES: Final = 48
STRING_BYTES: Final = 64
TAINTS: Final = 16
BINDING_CONDITIONS: Final = 4

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")
_LABEL_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
# The expression that semver.org suggests for version 2.0.0.
_VERSION: Final = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?",
    re.ASCII,
)
_KINDS: Final = ("int", "bool", "string", "version")
_PLACES: Final = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")


@dataclass(frozen=True, slots=True)
class Violation:
    """A field of a slice's spec, its value, and the rule that it breaks."""

    field: str
    value: object
    rule: str

    def __str__(self) -> str:
        return f"{self.field} is {self.value!r}, must be {self.rule}"


class InvalidSlice(InvalidValue):
    """Slices that no API server would take, with every rule that they break."""

    def __init__(self, pool: str, violations: tuple[Violation, ...]) -> None:
        super().__init__(f"pool {pool!r}: " + "; ".join(str(violation) for violation in violations))
        self.violations = violations


def violations(spec: Mapping[str, Any], *, counters_beside_devices: bool = False) -> list[Violation]:
    """Check one slice's spec and give every fault; none means that an API server takes it.

    `counters_beside_devices` is the rule of Kubernetes 1.34, which later versions turned around.
    """
    return [*_header(spec), *_counter_sets(spec, mixed=counters_beside_devices), *_devices(spec)]


def _header(spec: Mapping[str, Any]) -> Iterator[Violation]:
    driver, pool = str(spec.get("driver") or ""), spec.get("pool") or {}
    if len(driver) > 63 or not _SUBDOMAIN.fullmatch(driver):
        yield Violation("driver", driver, "a lower-case DNS subdomain of at most 63 bytes")
    name = str(pool.get("name") or "")
    if len(name) > 253 or not all(_SUBDOMAIN.fullmatch(part) for part in name.split("/")):
        yield Violation("pool.name", name, "DNS subdomains joined by /, at most 253 bytes together")
    if int(pool.get("generation") or 0) < 0:
        yield Violation("pool.generation", pool["generation"], "0 or more")
    if int(pool.get("resourceSliceCount") or 0) < 1:
        yield Violation("pool.resourceSliceCount", pool.get("resourceSliceCount"), "1 or more")
    placed = [place for place in _PLACES if spec.get(place)]
    if len(placed) != 1:
        yield Violation("nodeName", placed, f"exactly one of {', '.join(_PLACES)}")


def _counter_sets(spec: Mapping[str, Any], *, mixed: bool) -> Iterator[Violation]:
    sets = spec.get("sharedCounters") or []
    if sets and spec.get("devices") and not mixed:
        yield Violation("sharedCounters", len(sets), "empty in a slice with devices")
    if len(sets) > COUNTER_SETS_PER_SLICE:
        yield Violation("sharedCounters", len(sets), f"at most {COUNTER_SETS_PER_SLICE} sets")
    for item in sets:
        at = f"sharedCounters[{item.get('name')}]"
        yield from _label(f"{at}.name", item.get("name"))
        yield from _counters(f"{at}.counters", item.get("counters") or {})


def _counters(at: str, counters: Mapping[str, Any]) -> Iterator[Violation]:
    if not 1 <= len(counters) <= COUNTERS_PER_SET:
        yield Violation(at, len(counters), f"1 to {COUNTERS_PER_SET} counters")
    for name, counter in counters.items():
        yield from _label(f"{at}[{name}]", name)
        yield from _quantity(f"{at}[{name}].value", counter.get("value"))


def _devices(spec: Mapping[str, Any]) -> Iterator[Violation]:
    devices = spec.get("devices") or []
    extras = any(_has_extras(device) for device in devices)
    limit = DEVICES_PER_SLICE_WITH_EXTRAS if extras else DEVICES_PER_SLICE
    if len(devices) > limit:
        reason = " where a device has taints, counters or list attributes" if extras else ""
        yield Violation("devices", len(devices), f"at most {limit} devices{reason}")
    names: set[str] = set()
    for device in devices:
        name = str(device.get("name"))
        if name in names:
            yield Violation(f"devices[{name}].name", name, "unique in the slice")
        names.add(name)
        yield from _device(f"devices[{name}]", device, per_device=bool(spec.get("perDeviceNodeSelection")))


def _has_extras(device: Mapping[str, Any]) -> bool:
    lists = any(f"{kind}s" in value for value in (device.get("attributes") or {}).values() for kind in _KINDS)
    return bool(device.get("taints") or device.get("consumesCounters") or lists)


def _device(at: str, device: Mapping[str, Any], *, per_device: bool) -> Iterator[Violation]:
    yield from _label(f"{at}.name", device.get("name"))
    yield from _names_and_values(at, device)
    yield from _capacities(at, device)
    yield from _taints(at, device.get("taints") or [])
    yield from _consumptions(at, device.get("consumesCounters") or [])
    yield from _bindings(at, device)
    placed = [place for place in _PLACES[:3] if device.get(place)]
    if len(placed) != int(per_device):
        rule = (
            "exactly one of nodeName, nodeSelector, allNodes"
            if per_device
            else "on the slice, not on devices"
        )
        yield Violation(f"{at}.nodeName", placed, rule)


def _names_and_values(at: str, device: Mapping[str, Any]) -> Iterator[Violation]:
    attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
    if len(attributes) + len(capacity) > ATTRIBUTES_AND_CAPACITIES:
        count = len(attributes) + len(capacity)
        yield Violation(f"{at}.attributes", count, f"at most {ATTRIBUTES_AND_CAPACITIES} with the capacities")
    values = sum(
        len(item) if isinstance(item, list) else 1 for value in attributes.values() for item in value.values()
    )
    if values > ATTRIBUTE_VALUES:
        yield Violation(f"{at}.attributes", values, f"at most {ATTRIBUTE_VALUES} values, list items counted")
    for name in (*attributes, *capacity):
        yield from _qualified(f"{at}.{'attributes' if name in attributes else 'capacity'}[{name}]", name)
    for name, value in attributes.items():
        yield from _attribute(f"{at}.attributes[{name}]", value)


def _attribute(at: str, value: Mapping[str, Any]) -> Iterator[Violation]:
    given = [kind for kind in (*_KINDS, *(f"{kind}s" for kind in _KINDS)) if value.get(kind) is not None]
    if len(given) != 1:
        yield Violation(
            at, dict(value), "exactly one of int, bool, string, version, ints, bools, strings, versions"
        )
        return
    content, kind = value[given[0]], given[0]
    if isinstance(content, list) and not content:
        yield Violation(f"{at}.{kind}", content, "not empty")
    for item in content if isinstance(content, list) else [content]:
        yield from _value(f"{at}.{kind}", kind.rstrip("s"), item)


def _value(at: str, kind: str, item: object) -> Iterator[Violation]:
    if kind == "int" and not (isinstance(item, int) and -(2**63) <= item < 2**63):
        yield Violation(at, item, "a 64-bit integer")
    if kind in ("string", "version") and len(str(item).encode()) > STRING_BYTES:
        yield Violation(at, item, f"at most {STRING_BYTES} bytes")
    if kind == "version" and not _VERSION.fullmatch(str(item)):
        yield Violation(at, item, "a semantic version 2.0.0, such as 1.2.3")


def _capacities(at: str, device: Mapping[str, Any]) -> Iterator[Violation]:
    for name, capacity in (device.get("capacity") or {}).items():
        where = f"{at}.capacity[{name}]"
        faults = [*_quantity(f"{where}.value", capacity.get("value"))]
        yield from faults
        policy = capacity.get("requestPolicy")
        if policy is None or faults:
            continue
        if not device.get("allowMultipleAllocations"):
            yield Violation(f"{where}.requestPolicy", policy, "absent without allowMultipleAllocations")
        for field, value, rule in policy_faults(parse_quantity(capacity["value"]), policy):
            yield Violation(f"{where}.requestPolicy{field}", value, rule)


def _taints(at: str, taints: list[Mapping[str, Any]]) -> Iterator[Violation]:
    if len(taints) > TAINTS:
        yield Violation(f"{at}.taints", len(taints), f"at most {TAINTS} taints")
    for taint in taints:
        where = f"{at}.taints[{taint.get('key')}]"
        if not _is_label_name(str(taint.get("key") or "")):
            yield Violation(f"{where}.key", taint.get("key"), "a label name, [prefix/]name")
        value = str(taint.get("value") or "")
        if value and not _LABEL_NAME.fullmatch(value):
            yield Violation(f"{where}.value", value, "a label value of at most 63 characters")
        if taint.get("effect") not in ("None", "NoSchedule", "NoExecute"):
            yield Violation(f"{where}.effect", taint.get("effect"), "None, NoSchedule or NoExecute")


def _consumptions(at: str, consumptions: list[Mapping[str, Any]]) -> Iterator[Violation]:
    if len(consumptions) > COUNTER_SETS_PER_DEVICE:
        rule = f"at most {COUNTER_SETS_PER_DEVICE} counter sets"
        yield Violation(f"{at}.consumesCounters", len(consumptions), rule)
    for item in consumptions:
        where = f"{at}.consumesCounters[{item.get('counterSet')}]"
        yield from _label(f"{where}.counterSet", item.get("counterSet"))
        yield from _counters(f"{where}.counters", item.get("counters") or {})


def _bindings(at: str, device: Mapping[str, Any]) -> Iterator[Violation]:
    wanted, failed = device.get("bindingConditions") or [], device.get("bindingFailureConditions") or []
    if bool(wanted) != bool(failed):
        yield Violation(f"{at}.bindingConditions", wanted, "set together with bindingFailureConditions")
    for name, conditions in (("bindingConditions", wanted), ("bindingFailureConditions", failed)):
        if len(conditions) > BINDING_CONDITIONS:
            yield Violation(f"{at}.{name}", len(conditions), f"at most {BINDING_CONDITIONS} conditions")
    if len({*wanted, *failed}) < len(wanted) + len(failed):
        yield Violation(f"{at}.bindingConditions", [*wanted, *failed], "without duplicates in both lists")


def _label(at: str, name: object) -> Iterator[Violation]:
    if not _LABEL.fullmatch(str(name or "")):
        yield Violation(at, name, "a DNS label: lower-case letters, digits and -, at most 63")


def _qualified(at: str, name: str) -> Iterator[Violation]:
    domain, slash, identifier = name.rpartition("/")
    if slash and (len(domain) > 63 or not _SUBDOMAIN.fullmatch(domain)):
        yield Violation(at, name, "a name with a DNS subdomain of at most 63 bytes before its one /")
    if not _IDENTIFIER.fullmatch(identifier):
        yield Violation(at, name, "a C identifier of at most 32 characters, after an optional domain/")


def _quantity(at: str, value: object) -> Iterator[Violation]:
    try:
        parse_quantity(str(value))
    except MalformedQuantity:
        yield Violation(at, value, "a quantity, such as 80Gi")


def _is_label_name(name: str) -> bool:
    prefix, slash, rest = name.rpartition("/")
    if slash and (len(prefix) > 253 or not _SUBDOMAIN.fullmatch(prefix)):
        return False
    return _LABEL_NAME.fullmatch(rest) is not None
