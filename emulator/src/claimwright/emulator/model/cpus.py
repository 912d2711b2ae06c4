"""CPU lists and masks as the kernel prints them (lib/bitmap-str.c)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

MOST_CPUS = 8192  # CONFIG_NR_CPUS of distribution kernels


def cpu_list_fault(text: str) -> str | None:
    """Return what is wrong with a list that has the form `0-3,8`; None when nothing is."""
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        if int(high or low) < int(low):
            return f"{part} runs backwards"
        if int(high or low) >= MOST_CPUS:
            return f"{part}: a kernel has at most {MOST_CPUS} CPUs, numbered from 0"
    return None


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """Read `0-3,8` as (0, 1, 2, 3, 8); the empty text is no CPU."""
    ranges = (part.partition("-") for part in text.split(",") if part)
    return tuple(cpu for low, _, high in ranges for cpu in range(int(low), int(high or low) + 1))


def cpu_list(cpus: Iterable[int]) -> str:
    """Write `0-3,8` for 0, 1, 2, 3, 8."""
    runs: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if runs and runs[-1][1] == cpu - 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(f"{low}" if low == high else f"{low}-{high}" for low, high in runs)


def cpu_mask(cpus: Iterable[int], possible: int) -> str:
    """Write the hex mask in groups of 32 bits, most significant first, as wide as `possible` CPUs need."""
    mask = sum(1 << cpu for cpu in set(cpus))
    groups = max(1, (possible + 31) // 32)
    words = [f"{mask >> 32 * index & 0xFFFFFFFF:08x}" for index in reversed(range(groups))]
    spare = possible % 32
    digits = (spare + 3) // 4
    words[0] = words[0][-digits:]
    return ",".join(words)


def dealt(cpus: Sequence[int], hands: int) -> tuple[tuple[int, ...], ...]:
    """Deal CPUs in order to so many hands, evenly; what is over goes to the first ones."""
    share, over = divmod(len(cpus), hands)
    ends = [0]
    for hand in range(hands):
        ends.append(ends[-1] + share + (hand < over))
    return tuple(tuple(cpus[start:end]) for start, end in pairwise(ends))
