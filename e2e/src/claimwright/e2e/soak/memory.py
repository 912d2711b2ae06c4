"""Whether a process grows: a line through its memory over its age in cycles, and how sure that line is.

The first half of the process's life is not judged: a process grows while it meets each kind for the first time, and
while the allocator finds its size. Samples that follow each other are alike, so not they but the means of blocks of
them are taken as independent; the interval is Student's at 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

_BLOCKS: Final = 20
# Student's t at 97.5 % for 18 degrees of freedom: twenty blocks, two parameters.
_STUDENT: Final = 2.101
# A life of fewer cycles is its own warm-up, and tells nothing.
FEWEST_CYCLES: Final = 2000
# 0.1 kB a cycle is 10 MB in the hundred thousand cycles of the issue.
MOST_KILOBYTES_PER_CYCLE: Final = 0.1


@dataclass(frozen=True)
class Slope:
    """Growth in the second half of the longest life, in kB a cycle, between `low` and `high` with 95 % certainty."""

    cycles: int
    megabytes: float
    kilobytes_per_cycle: float
    low: float
    high: float

    @property
    def judged(self) -> bool:
        """Whether the life was long enough for a verdict."""
        return self.cycles >= FEWEST_CYCLES

    @property
    def grows(self) -> bool:
        """Whether it certainly grows by more than is allowed."""
        return self.judged and self.low > MOST_KILOBYTES_PER_CYCLE

    def as_object(self) -> dict[str, Any]:
        """Return it for JSON, with the verdict."""
        rounded = {name: round(value, 3) for name, value in asdict(self).items()}
        verdict = "grows" if self.grows else "flat" if self.high <= MOST_KILOBYTES_PER_CYCLE else "not sure"
        return {**rounded, "verdict": verdict if self.judged else "too short a life to tell"}


def slope_of(samples: Sequence[tuple[int, int]]) -> Slope | None:
    """Judge (age in cycles, bytes) of one or several lives, in order; None when no life has enough of them."""
    life = max(_lives(samples), key=len, default=[])
    half = life[len(life) // 2 :]
    if len(half) < 2 * _BLOCKS:
        return None
    blocks = [half[len(half) * n // _BLOCKS : len(half) * (n + 1) // _BLOCKS] for n in range(_BLOCKS)]
    ages = [_mean([age for age, _ in block]) for block in blocks]
    sizes = [_mean([size / 1e3 for _, size in block]) for block in blocks]
    slope, error = _line(ages, sizes)
    most = max(size for _, size in life) / 1e6
    return Slope(life[-1][0], most, slope, slope - _STUDENT * error, slope + _STUDENT * error)


def _lives(samples: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    starts = [0, *(n + 1 for n, (one, next_) in enumerate(pairwise(samples)) if next_[0] <= one[0])]
    return [list(samples[begin:end]) for begin, end in pairwise([*starts, len(samples)])]


def _line(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Return the slope of the line of least squares, and its standard error."""
    x, y = _mean(xs), _mean(ys)
    spread = sum((each - x) ** 2 for each in xs)
    slope = sum((one - x) * (other - y) for one, other in zip(xs, ys, strict=True)) / spread
    off = sum((other - y - slope * (one - x)) ** 2 for one, other in zip(xs, ys, strict=True))
    return slope, math.sqrt(off / (len(xs) - 2) / spread)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
