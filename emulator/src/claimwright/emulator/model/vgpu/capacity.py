"""What fits: vGPUs of one size (equal-size mode), of several (mixed-size), or inside GPU instances.

In mixed-size mode a GPU is a row of slots; a type takes slots / (its mixed count) of them, at multiples of that. The
counts are NVIDIA's tables, the slot arithmetic is what those counts imply.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import lcm

from claimwright.emulator.model.vgpu.types import VgpuType


@dataclass(frozen=True, slots=True)
class Placed:
    """A vGPU that exists: its type, its first slot, and its GPU instance when MIG backs it."""

    type: VgpuType
    placement: int
    gpu_instance: int | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """A GPU instance that could back a vGPU: its id and its profile's id."""

    id: int
    profile: int


def slots_of(types: Iterable[VgpuType]) -> int:
    """Return the number of slots of a GPU in mixed-size mode."""
    return lcm(*(each.mixed for each in types if each.profile is None)) if types else 1


def placement_size(kind: VgpuType, types: Iterable[VgpuType], *, mixed: bool) -> int:
    """Return how many slots one vGPU takes: its share of the row, or one of as many as fit."""
    return slots_of(types) // kind.mixed if mixed and kind.profile is None else 1


def all_placements(kind: VgpuType, types: Iterable[VgpuType], *, mixed: bool) -> tuple[int, ...]:
    """Return every first slot a type may take on an empty GPU (or GPU instance)."""
    size = placement_size(kind, types, mixed=mixed)
    return tuple(range(0, (kind.mixed if mixed else kind.per_gpu) * size, size))


def free_placements(
    kind: VgpuType,
    types: Mapping[int, VgpuType],
    placed: Sequence[Placed],
    *,
    mixed: bool,
    gpu_instance: int | None = None,
) -> tuple[int, ...]:
    """Return the first slots that a vGPU of this type could take now, in order."""
    if kind.profile is not None:
        inside = [each for each in placed if each.gpu_instance == gpu_instance]
        return _free_alike(kind, inside)
    if not mixed:
        return _free_alike(kind, placed)
    size = placement_size(kind, types.values(), mixed=True)
    taken = {slot for each in placed for slot in _taken(each, types)}
    starts = all_placements(kind, types.values(), mixed=True)
    return tuple(start for start in starts if taken.isdisjoint(range(start, start + size)))


def creatable_types(
    types: Mapping[int, VgpuType],
    placed: Sequence[Placed],
    instances: Sequence[Instance],
    *,
    mixed: bool,
    mig: bool,
) -> tuple[VgpuType, ...]:
    """Return the types of which one more can be made now."""
    if not mig:
        sliced = (kind for kind in types.values() if kind.profile is None)
        return tuple(kind for kind in sliced if free_placements(kind, types, placed, mixed=mixed))
    backed = (kind for kind in types.values() if kind.profile is not None)
    return tuple(kind for kind in backed if _backing(kind, types, placed, instances))


def most_instances(kind: VgpuType, *, mixed: bool) -> int:
    """Return how many vGPUs of a type an empty GPU holds."""
    return kind.mixed if mixed else kind.per_gpu


def _free_alike(kind: VgpuType, placed: Sequence[Placed]) -> tuple[int, ...]:
    """Equal size: the first vGPU decides the frame buffer of all others."""
    if any(each.type.framebuffer_mib != kind.framebuffer_mib for each in placed):
        return ()
    taken = {each.placement for each in placed}
    return tuple(slot for slot in range(kind.per_gpu) if slot not in taken)


def _backing(
    kind: VgpuType, types: Mapping[int, VgpuType], placed: Sequence[Placed], instances: Sequence[Instance]
) -> bool:
    fitting = (each for each in instances if each.profile == kind.profile)
    return any(free_placements(kind, types, placed, mixed=False, gpu_instance=each.id) for each in fitting)


def _taken(placed: Placed, types: Mapping[int, VgpuType]) -> range:
    return range(placed.placement, placed.placement + placement_size(placed.type, types.values(), mixed=True))
