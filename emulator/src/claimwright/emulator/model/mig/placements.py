"""Runs of slices, and the text form that `nvidia-smi mig -lgipp` prints them in: `{0,2,4}:2`."""

from __future__ import annotations

import re
from typing import NamedTuple

_TEXT = re.compile(r"\{(\d{1,2}(?:,\d{1,2})*)\}:(\d{1,2})")


class Placement(NamedTuple):
    """Slices `start` to `start + size - 1`: of memory for a GPU instance, of its compute for a compute instance."""

    start: int
    size: int

    @property
    def mask(self) -> int:
        """One bit per slice."""
        return (1 << self.size) - 1 << self.start

    def __str__(self) -> str:
        return f"{self.start}:{self.size}"


def read_placements(text: object) -> tuple[Placement, ...]:
    """Read `{0,2,4}:2`; ValueError shows the form."""
    found = _TEXT.fullmatch(text) if isinstance(text, str) else None
    if found is None or int(found[2]) == 0:
        raise ValueError(f"{text!r} is no list of placements such as {{0,2,4}}:2 (starts, size)")
    return tuple(Placement(int(start), int(found[2])) for start in found[1].split(","))


def occupied(placements: tuple[Placement, ...]) -> int:
    """Return one bit per slice that any of them takes."""
    mask = 0
    for placement in placements:
        mask |= placement.mask
    return mask


def most_disjoint(candidates: tuple[Placement, ...]) -> int:
    """Count how many can stand beside each other at most: the earliest end first is optimal on a line."""
    count = end = 0
    for start, size in sorted(candidates, key=lambda each: each.start + each.size):
        if start >= end:
            count, end = count + 1, start + size
    return count
