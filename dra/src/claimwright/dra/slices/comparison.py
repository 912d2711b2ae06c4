"""Whether a stored slice says what it should: what the API server fills in or rewrites is no difference."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

from claimwright.dra.quantities import MalformedQuantity, parse_quantity

# Keys below which each value is a quantity; taints have a `value` as well, so the parent decides.
_AMOUNT_PARENTS: Final = frozenset({"capacity", "counters"})
_POLICY_AMOUNTS: Final = frozenset({"default", "validValues", "min", "max", "step"})


def normal(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Bring a slice's spec to a form in which equal meaning is equality."""
    found = {key: value for key, value in spec.items() if value or key == "pool"}
    for key in ("devices", "sharedCounters"):
        if key in found:
            found[key] = [_device(item) for item in found[key]]
    return found


def differences(wanted: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """Name the fields of `wanted` that `stored` lacks or has otherwise: a gate that is off drops them."""
    return list(dict.fromkeys(_missing(normal(wanted), normal(stored), "")))


def keep_times_added(wanted: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return `wanted` with the `timeAdded` of taints that `stored` has already.

    Evictions count tolerationSeconds from it, so an unrelated update must not restart the clock.
    """
    known = {
        (device["name"], *_taint_key(taint)): taint["timeAdded"]
        for device in stored.get("devices") or ()
        for taint in device.get("taints") or ()
        if taint.get("timeAdded")
    }
    if not known:
        return dict(wanted)
    return {**wanted, "devices": [_with_times_added(device, known) for device in wanted.get("devices") or ()]}


def _with_times_added(
    device: Mapping[str, Any], known: Mapping[tuple[str, str, str, str], str]
) -> Mapping[str, Any]:
    taints = []
    for taint in device.get("taints") or ():
        time_added = known.get((device["name"], *_taint_key(taint)))
        given = bool(time_added) and not taint.get("timeAdded")
        taints.append({**taint, "timeAdded": time_added} if given else taint)
    return {**device, "taints": taints} if taints else device


def _taint_key(taint: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(taint.get("key")), str(taint.get("value") or ""), str(taint.get("effect"))


def _device(device: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _amounts(key, value) for key, value in device.items() if value or key == "name"}


def _amounts(key: str, value: Any) -> Any:  # noqa: ANN401  # a JSON tree
    if isinstance(value, Mapping):
        if key in _AMOUNT_PARENTS:
            return {name: _amount(item) for name, item in value.items()}
        return {name: _amounts(name, item) for name, item in value.items()}
    return [_amounts(key, item) for item in value] if isinstance(value, list) else value


def _amount(item: Mapping[str, Any]) -> dict[str, Any]:
    policy = item.get("requestPolicy")
    value = item.get("value")
    found = _exact_value(value) if isinstance(value, str) else {"value": _exact(value)}
    return found if not policy else {**found, "requestPolicy": _policy(policy)}


@functools.lru_cache(1024)
def _exact_value(value: str) -> dict[str, Any]:
    """Give the same object for the same text, of which a pool has thousands; nobody changes it."""
    return {"value": _exact(value)}


def _policy(policy: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in policy.items():
        if isinstance(value, Mapping):
            found[key] = _policy(value)
        elif isinstance(value, list):
            found[key] = [_exact(item) for item in value]
        elif value is not None:
            found[key] = _exact(value) if key in _POLICY_AMOUNTS else value
    return found


def _exact(value: object) -> object:
    try:
        return parse_quantity(str(value))
    except MalformedQuantity:
        return value


def _missing(wanted: Any, stored: Any, at: str) -> list[str]:  # noqa: ANN401  # a JSON tree
    if isinstance(wanted, Mapping) and isinstance(stored, Mapping):
        return [
            field
            for key, value in wanted.items()
            for field in _missing(value, stored.get(key), f"{at}.{key}".lstrip("."))
        ]
    if isinstance(wanted, list) and isinstance(stored, list) and len(wanted) == len(stored):
        return [
            field
            for left, right in zip(wanted, stored, strict=True)
            for field in _missing(left, right, f"{at}[]")
        ]
    return [] if wanted == stored else [at]
