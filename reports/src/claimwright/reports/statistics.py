"""Exact statistics in plain Python: quantiles, the empirical distribution, bootstrap intervals.

Quantiles are Hyndman and Fan's type 7 ("Sample Quantiles in Statistical Packages", 1996) over all samples,
never over buckets. Samples of one run are not independent of each other, so intervals resample whole runs
first and then samples inside each drawn run (a hierarchical percentile bootstrap).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

CONFIDENCE = 0.95
RESAMPLES = 2000
MINIMUM_RESAMPLES = 200
# Drawing and sorting a million numbers takes about 0.4 s in CPython; many samples get fewer resamples.
DRAWS = 1_000_000
# A tail quantile needs samples beyond it: below these counts only n and max are printed.
MINIMUM_FOR_INTERVAL = 5
EXTREMES = frozenset({"min", "max"})
MINIMUM_SAMPLES: Mapping[str, int] = {"p99": 1000, "p99.9": 10_000}

Statistic = Callable[[Sequence[float]], float]


@dataclass(frozen=True, slots=True)
class Interval:
    """A bootstrap interval at `CONFIDENCE`, in the unit of the samples."""

    low: float
    high: float


def quantile(ordered: Sequence[float], probability: float) -> float:
    """Return the type 7 quantile of numbers that are sorted already; `probability` is within 0 and 1."""
    if not ordered:
        raise ValueError("a quantile of no samples is not defined")
    if not 0 <= probability <= 1:
        raise ValueError(f"probability {probability!r} is not within 0 and 1")
    position = (len(ordered) - 1) * probability
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    low, high = ordered[below], ordered[above]
    return low + (high - low) * (position - below)


def statistic(name: str) -> Statistic:
    """Turn `p50`, `p99.9`, `min`, `max` into a function of sorted numbers."""
    if name == "min":
        return lambda ordered: ordered[0]
    if name == "max":
        return lambda ordered: ordered[-1]
    probability = float(name.removeprefix("p")) / 100
    return lambda ordered: quantile(ordered, probability)


def enough_samples(name: str, count: int) -> bool:
    """Say whether `count` samples carry this statistic."""
    return count >= MINIMUM_SAMPLES.get(name, 1)


def ecdf(values: Sequence[float]) -> list[tuple[float, float]]:
    """Return the steps of the distribution: each distinct value with the share of samples up to it."""
    ordered = sorted(values)
    count = len(ordered)
    return [
        (value, (index + 1) / count)
        for index, value in enumerate(ordered)
        if index + 1 == count or ordered[index + 1] != value
    ]


def bootstrap(clusters: Sequence[Sequence[float]], names: Sequence[str], *, seed: int) -> dict[str, Interval]:
    """Return an interval per statistic; each cluster holds the samples of one run (or of one repetition).

    The same seed and samples give the same interval. With one cluster only its samples are resampled, so the
    interval cannot hold what differs from run to run; the report says which of the two it was. Extremes, and
    fewer than `MINIMUM_FOR_INTERVAL` samples, get none.
    """
    filled = [cluster for cluster in clusters if cluster]
    # Resampling cannot go beyond the largest sample, so an extreme gets no interval
    # (Efron and Tibshirani, An Introduction to the Bootstrap, 7.4).
    functions = {name: statistic(name) for name in names if name not in EXTREMES}
    if sum(len(cluster) for cluster in filled) < MINIMUM_FOR_INTERVAL or not functions:
        return {}
    draws: dict[str, list[float]] = {name: [] for name in functions}
    rng = random.Random(seed)  # noqa: S311 - reproducible resampling, not a secret
    for _ in range(_resamples(filled)):
        ordered = _resample(filled, rng)
        for name, function in functions.items():
            draws[name].append(function(ordered))
    return {name: _percentile_interval(values) for name, values in draws.items()}


def _resamples(clusters: Sequence[Sequence[float]]) -> int:
    total = sum(len(cluster) for cluster in clusters)
    return max(MINIMUM_RESAMPLES, min(RESAMPLES, DRAWS // total))


def _resample(clusters: Sequence[Sequence[float]], rng: random.Random) -> list[float]:
    drawn = rng.choices(clusters, k=len(clusters)) if len(clusters) > 1 else clusters
    return sorted(chain.from_iterable(rng.choices(cluster, k=len(cluster)) for cluster in drawn))


def _percentile_interval(values: list[float]) -> Interval:
    values.sort()
    tail = (1 - CONFIDENCE) / 2
    return Interval(low=quantile(values, tail), high=quantile(values, 1 - tail))
