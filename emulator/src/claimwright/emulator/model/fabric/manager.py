"""The fabric manager of a node with NVSwitches, and the partitions that it can activate (nv_fm_types.h)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

MOST_PARTITIONS = 64  # FM_MAX_FABRIC_PARTITIONS


class FabricMode(StrEnum):
    """`FABRIC_MODE`: bare metal (all GPUs see each other), or NVSwitches shared between virtual machines."""

    BARE_METAL = "bare_metal"
    SHARED_NVSWITCH = "shared_nvswitch"


@dataclass(frozen=True, slots=True)
class FabricPartition:
    """GPUs, by module id (the fabric manager's physical id), that may reach each other; one alone has no NVLinks."""

    id: int
    modules: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FabricManager:
    """A fabric manager: whether it runs, how it shares the switches, and which partitions are active."""

    mode: FabricMode = FabricMode.BARE_METAL
    partitions: tuple[FabricPartition, ...] = ()
    active: frozenset[int] = frozenset()
    running: bool = True

    def partition(self, number: int) -> FabricPartition | None:
        """Return a partition by its id."""
        return next((each for each in self.partitions if each.id == number), None)

    def holding(self, module: int) -> FabricPartition | None:
        """Return the active partition that holds a GPU; active ones never overlap."""
        return next(
            (each for each in self.partitions if each.id in self.active and module in each.modules), None
        )

    def with_active(self, active: Iterable[int]) -> FabricManager:
        """Return this manager with other partitions active."""
        return replace(self, active=frozenset(active))


def standard_partitions(modules: Iterable[int]) -> tuple[FabricPartition, ...]:
    """Return the table of an 8-GPU baseboard: all, halves, four pairs, eight singles (ids 0 to 14).

    Pairs join every other module, (1, 3), (2, 4), (5, 7), (6, 8), as HGX baseboards list them. Boards of other sizes
    have the whole and the singles.
    """
    ordered = sorted(modules)
    groups = [tuple(ordered)]
    if len(ordered) == 8:
        groups += [tuple(ordered[:4]), tuple(ordered[4:])]
        groups += [(ordered[at], ordered[at + 2]) for at in (0, 1, 4, 5)]
    groups += [(module,) for module in ordered] if len(ordered) > 1 else []
    return tuple(FabricPartition(number, group) for number, group in enumerate(groups))
