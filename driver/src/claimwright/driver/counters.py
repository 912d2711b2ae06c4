"""Shared counters: how much of a GPU there is, and how much each device takes of it (KEP-4815).

Every device that is made of one GPU takes from that GPU's set, so the scheduler itself keeps them apart: a whole GPU
takes everything, a partition its engines and its memory slices. Names are the community driver's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from claimwright.dra.quantities import Quantity
from claimwright.dra.slices import CounterConsumption, CounterSet
from claimwright.driver.inventory import Gpu
from claimwright.driver.ports import PartitionProfile, Placement

# A GPU without partitions is in one mode at a time: in a container, or in a virtual machine.
_ONE_MODE: Final = {"mode": Quantity.parse("1")}


def counter_set(gpu: Gpu) -> CounterSet:
    """Return the GPU's set; one that cannot be partitioned has a single counter, for the whole of it."""
    if gpu.mig is None or not gpu.mig.profiles:
        return CounterSet(_set_name(gpu), _ONE_MODE)
    slices = max(where.start + where.size for profile in gpu.mig.profiles for where in profile.placements)
    return CounterSet(
        name=_set_name(gpu),
        counters={**_engine_quantities(largest_engines(gpu.mig.profiles)), **_memory_slices(range(slices))},
    )


def whole(gpu: Gpu) -> tuple[CounterConsumption, ...]:
    """Return what any device that takes all of the GPU consumes."""
    counters = counter_set(gpu)
    return (CounterConsumption(counters.name, counters.counters),)


def part(gpu: Gpu, profile: PartitionProfile, placement: Placement) -> tuple[CounterConsumption, ...]:
    """Return what a partition consumes."""
    counters = {**_engine_quantities(engines(profile)), **_memory_slices(placement.slices)}
    return (CounterConsumption(_set_name(gpu), counters),)


def engines(profile: PartitionProfile) -> dict[str, int]:
    """Return the amounts of one partition, by the names of counters."""
    return {
        "multiprocessors": profile.multiprocessors,
        "copy-engines": profile.copy_engines,
        "decoders": profile.decoders,
        "encoders": profile.encoders,
        "jpeg-engines": profile.jpeg_engines,
        "ofa-engines": profile.ofa_engines,
        "memory": profile.memory_bytes,
    }


def largest_engines(profiles: Iterable[PartitionProfile]) -> dict[str, int]:
    """Return the most that any partition has of each, which is what the GPU has to give."""
    return {name: max(amounts) for name, amounts in _by_name(profiles)}


def capacities(amounts: dict[str, int]) -> dict[str, Quantity]:
    """Spell amounts as capacities: `copy-engines` is called `copyEngines` there."""
    return {
        re.sub(r"-(.)", lambda found: found[1].upper(), name): (
            Quantity.of_bytes(amount) if name == "memory" else Quantity.parse(str(amount))
        )
        for name, amount in amounts.items()
    }


def _by_name(profiles: Iterable[PartitionProfile]) -> Iterator[tuple[str, list[int]]]:
    found = [engines(profile) for profile in profiles]
    for name in found[0]:
        yield name, [amounts[name] for amounts in found]


def _engine_quantities(amounts: dict[str, int]) -> dict[str, Quantity]:
    return {
        name: Quantity.of_bytes(amount) if name == "memory" else Quantity.parse(str(amount))
        for name, amount in amounts.items()
    }


def _memory_slices(slices: range) -> dict[str, Quantity]:
    return {f"memory-slice-{number}": Quantity.parse("1") for number in slices}


def _set_name(gpu: Gpu) -> str:
    return f"gpu-{gpu.minor}-counter-set"
