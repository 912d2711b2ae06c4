"""Rules of a capacity's request policy (KEP-5075, consumable capacity)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from claimwright.dra.quantities import MalformedQuantity, parse_quantity

VALID_VALUES: Final = 10
_Fault = tuple[str, object, str]


def policy_faults(capacity: Decimal, policy: Mapping[str, Any]) -> Iterator[_Fault]:
    """Give (field, value, rule) for each rule that `policy` of a capacity breaks."""
    try:
        yield from _faults(capacity, policy)
    except MalformedQuantity as error:
        yield "", dict(policy), f"made of quantities ({error})"


def _faults(capacity: Decimal, policy: Mapping[str, Any]) -> Iterator[_Fault]:
    values, limits = policy.get("validValues") or [], policy.get("validRange")
    default = None if policy.get("default") is None else parse_quantity(str(policy["default"]))
    if values and limits:
        yield "", dict(policy), "one of validValues and validRange, not both"
    if (values or limits) and default is None:
        yield ".default", None, "set with validValues or validRange"
    if values:
        yield from _value_faults(capacity, [parse_quantity(str(value)) for value in values], default)
    if limits:
        yield from _range_faults(capacity, limits, default)


def _value_faults(capacity: Decimal, values: list[Decimal], default: Decimal | None) -> Iterator[_Fault]:
    if len(values) > VALID_VALUES:
        yield ".validValues", len(values), f"at most {VALID_VALUES} values"
    if any(left >= right for left, right in pairwise(values)):
        yield ".validValues", [str(value) for value in values], "ascending and unique"
    if max(values) > capacity:
        yield ".validValues", str(max(values)), f"at most the capacity, {capacity}"
    if default is not None and default not in values:
        yield ".default", str(default), "one of validValues"


def _range_faults(capacity: Decimal, limits: Mapping[str, Any], default: Decimal | None) -> Iterator[_Fault]:
    if limits.get("min") is None:
        yield ".validRange.min", None, "set"
        return
    low = parse_quantity(str(limits["min"]))
    high = None if limits.get("max") is None else parse_quantity(str(limits["max"]))
    step = None if limits.get("step") is None else parse_quantity(str(limits["step"]))
    for name, value in (("min", low), ("max", high)):
        if value is not None and value > capacity:
            yield f".validRange.{name}", str(value), f"at most the capacity, {capacity}"
    if default is not None and not low <= default <= (capacity if high is None else high):
        yield ".default", str(default), "inside validRange"
    if step is not None:
        yield from _step_faults(capacity, low, step, {".default": default, ".validRange.max": high})


def _step_faults(
    capacity: Decimal, low: Decimal, step: Decimal, reached: Mapping[str, Decimal | None]
) -> Iterator[_Fault]:
    if step <= 0 or low + step > capacity:
        yield ".validRange.step", str(step), "above 0, and min + step at most the capacity"
        return
    for field, value in reached.items():
        if value is not None and (value - low) % step:
            yield field, str(value), "min plus a multiple of step"
