"""What a `mig:` section says against itself or against its board."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from claimwright.emulator.model.mig.placements import most_disjoint
from claimwright.emulator.model.mig.profiles import GpuInstanceProfile, MigSpec, compute_number
from claimwright.emulator.model.mig.room import ENGINES
from claimwright.emulator.model.profile_text import Place

_Fault = tuple[Place, str]


def mig_faults(spec: MigSpec, board: Mapping[str, int]) -> Iterator[_Fault]:
    """Yield the faults; `board` gives memory_mib, multiprocessors and the engines of the whole board."""
    yield from _compute_faults(spec)
    yield from _repeated(spec)
    for index, profile in enumerate(spec.gpu_instances):
        place: Place = ("mig", "gpu_instances", index)
        yield from _size_faults(spec, profile, place)
        yield from _placement_faults(spec, profile, place)
        yield from _engine_faults(profile, board, place)
        for name in set(profile.unverified) - set(GpuInstanceProfile.defaults):
            yield (*place, "unverified"), f"{name!r} names no field of a profile"


def _compute_faults(spec: MigSpec) -> Iterator[_Fault]:
    for size, offered in spec.compute_profiles.items():
        place: Place = ("mig", "compute_profiles", str(size))
        for wrong in [each for each in offered if compute_number(each) is None or each > size]:
            yield place, f"a {size}g instance cannot hold a compute instance of {wrong} slices"
        if size not in offered:
            yield place, f"a {size}g instance must offer the compute instance of all its {size} slices"
    for size in sorted({each.slices for each in spec.gpu_instances} - set(spec.compute_profiles)):
        yield ("mig", "compute_profiles"), f"nothing is said of GPU instances of {size} slices"


def _repeated(spec: MigSpec) -> Iterator[_Fault]:
    ids: dict[object, int] = {}
    kinds: dict[object, int] = {}
    for index, profile in enumerate(spec.gpu_instances):
        first = ids.setdefault(profile.id, index)
        if first != index:
            yield ("mig", "gpu_instances", index, "id"), f"id {profile.id} is that of profile {first} too"
        kind = (profile.slices, profile.variant)
        if kinds.setdefault(kind, index) != index:
            said = f"{profile.slices} slices, {profile.variant}: given twice"
            yield ("mig", "gpu_instances", index, "slices"), said


def _size_faults(spec: MigSpec, profile: GpuInstanceProfile, place: Place) -> Iterator[_Fault]:
    if profile.number is None:
        said = f"NVML knows no profile of {profile.slices} slices that is {profile.variant}"
        yield (*place, "variant"), said
    if profile.slices > spec.compute_slices:
        yield (*place, "slices"), f"{profile.slices} slices of {spec.compute_slices}"
    if spec.memory_slices % profile.size:
        yield (*place, "at"), f"{spec.memory_slices} memory slices are no multiple of {profile.size}"


def _placement_faults(spec: MigSpec, profile: GpuInstanceProfile, place: Place) -> Iterator[_Fault]:
    for start, size in profile.at:
        if start + size > spec.memory_slices:
            yield (*place, "at"), f"placement {start}:{size} reaches beyond {spec.memory_slices} slices"
        if start % size:
            yield (*place, "at"), f"placement {start}:{size} does not begin on a multiple of {size}"
    if len(set(profile.at)) < len(profile.at):
        yield (*place, "at"), "a placement is given twice"
    if profile.max > most_disjoint(profile.at):
        said = f"{profile.max} instances, but its placements hold {most_disjoint(profile.at)} at once"
        yield (*place, "max"), said


def _engine_faults(profile: GpuInstanceProfile, board: Mapping[str, int], place: Place) -> Iterator[_Fault]:
    for name in ("memory_mib", "multiprocessors", *ENGINES):
        needed = profile.max * getattr(profile, name)
        if needed > board[name]:
            said = f"{profile.max} x {getattr(profile, name)} are more than the board's {board[name]}"
            yield (*place, name), said
