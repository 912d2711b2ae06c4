"""What still fits: both axes and the engines, and where the driver puts what comes without a place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from claimwright.emulator.model.mig.instances import GpuInstance
from claimwright.emulator.model.mig.placements import Placement, most_disjoint, occupied
from claimwright.emulator.model.mig.profiles import ComputeProfile, GpuInstanceProfile, MigSpec

if TYPE_CHECKING:
    from claimwright.emulator.model.board import Board

ENGINES = ("copy_engines", "decoders", "encoders", "jpeg_engines", "optical_flow")
AXES = ("slices", *ENGINES)


class Room:
    """What the instances of one GPU leave free; `totals` are the board's compute slices and engines by name."""

    def __init__(self, spec: MigSpec, totals: Mapping[str, int], instances: Sequence[GpuInstance]) -> None:
        self._spec = spec
        self._held = [spec.by_id[each.profile] for each in instances]
        self._taken = occupied(tuple(each.placement for each in instances))
        used = {axis: sum(getattr(each, axis) for each in self._held) for axis in AXES}
        self._left = {axis: totals[axis] - used[axis] for axis in AXES}

    def places(self, profile: GpuInstanceProfile) -> tuple[Placement, ...]:
        """Return where one more of a profile can go now; empty when anything is short."""
        return self._free(profile, self._taken) if self._countable(profile) > 0 else ()

    def remaining(self, profile: GpuInstanceProfile) -> int:
        """Count how many more of this profile alone could be made (lgip's "Free")."""
        return max(0, min(self._countable(profile), most_disjoint(self._free(profile, self._taken))))

    def choose(self, profile: GpuInstanceProfile) -> Placement | None:
        """Return where the driver would put one more: the place that leaves most places to all profiles.

        So the first 1g of an empty A100 goes to 6 and the next to 4 (MIG user guide, "Creating GPU instances"):
        low slots stay whole for the larger profiles. Equal choices go to the lowest start.
        """
        places = self.places(profile)
        return max(places, key=lambda place: (self._left_after(place), -place.start), default=None)

    def _left_after(self, place: Placement) -> int:
        taken = self._taken | place.mask
        return sum(len(self._free(each, taken)) for each in self._spec.gpu_instances)

    def _free(self, profile: GpuInstanceProfile, taken: int) -> tuple[Placement, ...]:
        return tuple(place for place in profile.at if not place.mask & taken)

    def _countable(self, profile: GpuInstanceProfile) -> int:
        return min(self._limits(profile))

    def _limits(self, profile: GpuInstanceProfile) -> Iterator[int]:
        yield profile.max - sum(each.id == profile.id for each in self._held)
        for axis in AXES:
            if needed := getattr(profile, axis):
                yield self._left[axis] // needed


def room_on(board: Board, instances: Sequence[GpuInstance]) -> Room:
    """Return the room that instances leave on a board that has a `mig:` section."""
    assert board.mig is not None
    return Room(board.mig, board_totals(board), instances)


def board_totals(board: Board) -> dict[str, int]:
    """Return what instances share: compute slices, engines, multiprocessors and memory of the whole board."""
    engines = {name: getattr(board.engines, name) for name in (*ENGINES, "multiprocessors")}
    slices = 0 if board.mig is None else board.mig.compute_slices
    return {"slices": slices, "memory_mib": board.memory.total_mib, **engines}


def compute_places(instance: GpuInstance, profile: ComputeProfile) -> tuple[Placement, ...]:
    """Return where one more compute instance can go in a GPU instance, lowest start first, as drivers fill it."""
    taken = occupied(tuple(each.placement for each in instance.compute_instances))
    return tuple(place for place in profile.at if not place.mask & taken)
