"""Scales and their ticks: values to pixels, nothing drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Scale = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale over pixels with the values where it carries a label."""

    scale: Scale
    ticks: tuple[float, ...]
    low: float
    high: float


def logarithmic(low: float, high: float, start: float, end: float) -> Axis:
    """Make a logarithmic axis that holds both values, both above zero, with ticks at 1, 2 and 5."""
    first, last = math.log10(low) - 0.04, math.log10(high) + 0.06
    if last - first < 0.5:  # a narrow distribution still needs an axis with two labels
        middle = (first + last) / 2
        first, last = middle - 0.25, middle + 0.25

    def scale(value: float) -> float:
        return start + (math.log10(value) - first) / (last - first) * (end - start)

    steps = (1, 2, 5) if last - first < 2.6 else (1,)
    ticks = [
        step * 10.0**exponent
        for exponent in range(math.floor(first), math.ceil(last) + 1)
        for step in steps
        if first <= math.log10(step * 10.0**exponent) <= last
    ]
    return Axis(scale, tuple(ticks), 10**first, 10**last)


def linear(high: float, start: float, end: float, *, wanted: int = 6) -> Axis:
    """Make a linear axis from zero that holds `high`, with about `wanted` round ticks."""
    top = high * 1.02 or 1.0

    def scale(value: float) -> float:
        return start + value / top * (end - start)

    step = _round_step(top / wanted)
    return Axis(scale, tuple(step * index for index in range(math.floor(top / step) + 1)), 0.0, top)


def _round_step(rough: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(rough))
    return next(step * magnitude for step in (1, 2, 5, 10) if step * magnitude >= rough)
