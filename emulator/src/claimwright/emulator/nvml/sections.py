"""The sections of a GPU's page: runs of members that follow from the same parts of a GPU's state.

A change rewrites the sections of what it changed and no others: encoding a whole page takes longer than the command
that asked for the change may take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from operator import attrgetter

from claimwright.emulator.model import GpuState
from claimwright.emulator.nvml import readings
from claimwright.emulator.nvml.identity import GpuIdentity
from claimwright.emulator.nvml.layout import GPU
from claimwright.emulator.nvml.records import Record, Value

_Values = Callable[[GpuState, GpuIdentity], Mapping[str, Value]]


@dataclass(frozen=True, slots=True)
class Section:
    """Bytes of a page at an offset; as long as `needs` gives the same, so do they."""

    offset: int
    record: Record
    needs: Callable[[GpuState], object]
    values: _Values

    def encode(self, gpu: GpuState, identity: GpuIdentity) -> bytes:
        """Return its bytes."""
        return self.record.pack(self.values(gpu, identity))


@cache
def sections() -> tuple[Section, ...]:
    """Return all sections in the page's order, without the sequence number before the first."""
    rows: tuple[tuple[str, tuple[str, ...], _Values], ...] = (
        (
            "flags",
            (
                "nvml_visible", "lost", "persistence_mode", "compute_mode", "time_slice", "mig",
                "performance_state", "temperature", "power", "board",
            ),
            lambda gpu, _: readings.state_values(gpu),
        ),
        (
            "clocks",
            ("clocks", "utilization", "settings", "board"),
            lambda gpu, _: readings.load_values(gpu),
        ),
        ("ecc_current", ("ecc",), lambda gpu, _: readings.ecc_values(gpu)),
        (
            "memory_used",
            ("processes", "utilization", "clock_lock", "health", "board"),
            lambda gpu, _: readings.sum_values(gpu),
        ),
        ("fabric_state", ("fabric",), lambda gpu, _: readings.fabric_values(gpu)),
        (
            "recovery_action",
            ("health", "ecc", "link_generation", "link_width", "board"),
            lambda gpu, _: readings.health_values(gpu),
        ),
        ("mig_devices", ("mig",), lambda gpu, _: readings.mig_values(gpu)),
        ("process_count", ("processes", "utilization"), lambda gpu, _: readings.process_values(gpu)),
        (
            "link_count",
            ("nvlinks",),
            lambda gpu, identity: {**identity.values, **readings.link_values(gpu, identity.remotes)},
        ),
        ("minor", ("board",), lambda _, identity: identity.values),
    )  # fmt: skip
    names = [field.name for field in GPU.fields]
    starts = [names.index(first) for first, _, _ in rows]
    ends = [*(start - 1 for start in starts[1:]), len(names) - 1]
    return tuple(
        Section(*GPU.run(first, names[end]), attrgetter(*needs), values)
        for (first, needs, values), end in zip(rows, ends, strict=True)
    )
