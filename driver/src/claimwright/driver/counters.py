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
from claimwright.driver.inventory import Gpu, VgpuHost
from claimwright.driver.ports import PartitionProfile, Placement, VgpuPlace

# A GPU without partitions is in one mode at a time: in a container, or in virtual machines.
_ONE_MODE: Final = {"mode": Quantity.parse("1")}


def counter_set(gpu: Gpu) -> CounterSet:
    """Return the GPU's set; one that cannot be partitioned has a single counter, for the whole of it."""
    if gpu.vgpus is not None and gpu.vgpus.mixed_sizes:
        return CounterSet(_set_name(gpu), _vgpu_slots(range(len(slot_edges(gpu.vgpus)) - 1)))
    if gpu.mig is None or not gpu.mig.profiles:
        return CounterSet(_set_name(gpu), _ONE_MODE)
    amounts = _engine_quantities(largest_engines(gpu.mig.profiles))
    return CounterSet(_set_name(gpu), {**amounts, **_memory_slices(_slices(gpu, gpu.mig.profiles))})


def whole(gpu: Gpu) -> tuple[CounterConsumption, ...]:
    """Return what any device that takes all of the GPU consumes."""
    counters = counter_set(gpu)
    return (CounterConsumption(counters.name, counters.counters),)


def part(gpu: Gpu, profile: PartitionProfile, placement: Placement) -> tuple[CounterConsumption, ...]:
    """Return what a partition consumes."""
    counters = {**_engine_quantities(engines(profile)), **_memory_slices(placement.slices)}
    return (CounterConsumption(_set_name(gpu), counters),)


def vgpu_slots(gpu: Gpu, place: VgpuPlace) -> tuple[CounterConsumption, ...]:
    """Return what a vGPU at its place consumes, where several sizes may share the GPU."""
    return (CounterConsumption(_set_name(gpu), _vgpu_slots(slots_at(gpu, place))),)


def slots_at(gpu: Gpu, place: VgpuPlace) -> range:
    """Return the numbers of the slots that a place covers; a slot is what no place of the board divides."""
    edges = slot_edges(gpu.vgpus) if gpu.vgpus is not None else ()
    return range(edges.index(place.start), edges.index(place.start + place.size))


def slot_edges(host: VgpuHost) -> tuple[int, ...]:
    """Return where places begin and end, in NVML's units, which may be finer than any vGPU."""
    places = {place for kind in host.types for place in kind.places}
    return tuple(sorted({edge for place in places for edge in (place.start, place.start + place.size)}))


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


def _slices(gpu: Gpu, profiles: Iterable[PartitionProfile]) -> range:
    """Return the GPU's memory slices; a guest whose host cuts the GPU has no places, but partitions."""
    places = [place for profile in profiles for place in profile.placements]
    places += [partition.placement for partition in gpu.foreign]
    return range(max((place.start + place.size for place in places), default=0))


def _by_name(profiles: Iterable[PartitionProfile]) -> Iterator[tuple[str, list[int]]]:
    found = [engines(profile) for profile in profiles]
    for name in found[0]:
        yield name, [amounts[name] for amounts in found]


def _engine_quantities(amounts: dict[str, int]) -> dict[str, Quantity]:
    return {
        name: Quantity.of_bytes(amount) if name == "memory" else Quantity.parse(str(amount))
        for name, amount in amounts.items()
    }


def _vgpu_slots(slots: range) -> dict[str, Quantity]:
    return {f"vgpu-slot-{number}": Quantity.parse("1") for number in slots}


def _memory_slices(slices: range) -> dict[str, Quantity]:
    return {f"memory-slice-{number}": Quantity.parse("1") for number in slices}


def _set_name(gpu: Gpu) -> str:
    return f"gpu-{gpu.minor}-counter-set"
