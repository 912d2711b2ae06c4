"""The `vgpu:` section of a board profile: which virtual GPUs it can be cut into (NVIDIA's vGPU type tables)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import cached_property
from typing import Annotated, Literal

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model.profile_text import Place, Profile
from claimwright.emulator.model.rules import Field, NonNegativeInt, PositiveInt
from claimwright.emulator.model.vgpu.types import VgpuType

Letter = Literal["Q", "A", "B", "C"]
Pair = Annotated[tuple[PositiveInt, PositiveInt], Field(strict=False)]


class MigBacked(Profile):
    """Types that live in a GPU instance of one profile; more than one `per_instance` share it in time."""

    slices: PositiveInt
    gib: PositiveInt
    profile: NonNegativeInt  # the GPU instance profile's id, as `nvidia-smi mig -lgip` prints it
    series: Letter = "C"
    suffix: Literal["", "ME", "GFX"] = ""
    per_instance: PositiveInt = 1


class VgpuSpec(Profile):
    """One board's vGPU types; `time_sliced` gives per series and frame buffer (GiB) how many fit: equal, mixed."""

    prefix: Annotated[str, Field(min_length=1, max_length=48)]
    framework: Literal["mdev", "vendor-specific"]
    virtual_functions: NonNegativeInt
    first_id: PositiveInt
    ids: dict[str, PositiveInt] = field(default_factory=dict)  # those that were seen on machines
    time_sliced: dict[Letter, dict[PositiveInt, Pair]] = field(default_factory=dict)
    mig_backed: tuple[MigBacked, ...] = ()

    def faults(self, board_gib: int) -> Iterator[tuple[Place, str]]:
        """Yield what the section says against itself, or against the board's memory."""
        if self.framework == "vendor-specific" and not self.virtual_functions:
            yield (
                ("virtual_functions",),
                "vendor-specific vGPUs live on virtual functions: expected at least 1",
            )
        for letter, sizes in self.time_sliced.items():
            for gib, (equal, mixed) in sizes.items():
                where: Place = ("time_sliced", letter, gib)
                if gib * equal > board_gib:
                    yield where, f"{equal} x {gib} GiB do not fit into {board_gib} GiB"
                if mixed > equal:
                    yield where, f"{mixed} in mixed-size mode exceed {equal} of equal size"
        for index, backed in enumerate(self.mig_backed):
            if backed.gib > board_gib:
                yield ("mig_backed", index, "gib"), f"{backed.gib} GiB exceed the board's {board_gib} GiB"
        yield from self._id_faults()

    def names(self) -> Iterator[str]:
        """Yield every type's name, in the order in which ids are given out."""
        for letter in sorted(self.time_sliced):
            for gib in sorted(self.time_sliced[letter]):
                yield f"{self.prefix}-{gib}{letter}"
        for backed in self.mig_backed:
            yield f"{self.prefix}-{backed.slices}-{backed.gib}{backed.series}{backed.suffix}"

    @cached_property
    def types(self) -> Mapping[int, VgpuType]:
        """All types by id, in the order of ids."""
        numbers = dict(zip(self.names(), self._numbers(), strict=True))
        made = sorted(_made(self, numbers), key=lambda each: each.id)
        return {each.id: each for each in made}

    def _numbers(self) -> Iterator[int]:
        """Give ids: those that were seen on machines, and else the next free one."""
        taken, number = set(self.ids.values()), self.first_id
        for name in self.names():
            if name in self.ids:
                yield self.ids[name]
                continue
            while number in taken:
                number += 1
            taken.add(number)
            yield number

    def _id_faults(self) -> Iterator[tuple[Place, str]]:
        known, taken = set(self.names()), set[int]()
        for name, number in self.ids.items():
            if name not in known:
                yield ("ids", name), f"{name} is no type of this board; known: {', '.join(sorted(known))}"
            if number in taken:
                yield ("ids", name), f"id {number} is given twice"
            taken.add(number)


def types_of(spec: VgpuSpec | None) -> Mapping[int, VgpuType]:
    """Return a board's types by id; none for a board without the section."""
    return {} if spec is None else spec.types


def type_of(spec: VgpuSpec | None, type_id: int) -> VgpuType:
    """Return one type; OperationRefused INVALID_ARGUMENT lists the known ids."""
    known = types_of(spec)
    if type_id not in known:
        listed = ", ".join(f"{each.id} ({each.name})" for each in known.values()) or "none"
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"no vGPU type {type_id} on this board; known: {listed}"
        )
    return known[type_id]


def _made(spec: VgpuSpec, numbers: Mapping[str, int]) -> Iterator[VgpuType]:
    for letter, sizes in spec.time_sliced.items():
        for gib, (equal, mixed) in sizes.items():
            name = f"{spec.prefix}-{gib}{letter}"
            yield VgpuType(numbers[name], name, letter, gib * 1024, equal, mixed)
    for backed in spec.mig_backed:
        name = f"{spec.prefix}-{backed.slices}-{backed.gib}{backed.series}{backed.suffix}"
        each = backed.per_instance
        yield VgpuType(
            numbers[name], name, backed.series, backed.gib * 1024, each, each, backed.profile, each
        )
