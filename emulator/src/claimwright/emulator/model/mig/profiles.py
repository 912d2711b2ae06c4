"""The `mig:` section of a board: its GPU-instance and compute-instance profiles.

The numbers are NVML's (nvml.h 13.5, "MIG"): `number` is NVML_GPU_INSTANCE_PROFILE_* that callers count up, `id` is what
`nvmlDeviceCreateGpuInstance` and `nvidia-smi mig -cgi` take; the two differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Annotated

from claimwright.emulator.model.mig.placements import Placement, read_placements
from claimwright.emulator.model.profile_text import Profile, by_name
from claimwright.emulator.model.rules import (
    Field,
    NonNegativeInt,
    PlainSerializer,
    PlainValidator,
    PositiveInt,
)

GPU_INSTANCE_PROFILES = 18  # NVML_GPU_INSTANCE_PROFILE_COUNT
COMPUTE_PROFILES = 9  # NVML_COMPUTE_INSTANCE_PROFILE_COUNT
COMPUTE_REV1 = 7  # NVML_COMPUTE_INSTANCE_PROFILE_1_SLICE_REV1
_COMPUTE_NUMBERS = {1: 0, 2: 1, 3: 2, 4: 3, 7: 4, 8: 5, 6: 6}


class Variant(StrEnum):
    """What sets a profile apart from the plain one of its size."""

    PLAIN = "plain"
    ME = "me"  # REV1: with the media engines that exist once
    DOUBLE_MEMORY = "double_memory"  # REV2
    GFX = "gfx"
    NO_ME = "no_me"
    ALL_ME = "all_me"


_NUMBERS = {
    **{(slices, Variant.PLAIN): number for slices, number in _COMPUTE_NUMBERS.items()},
    (1, Variant.ME): 0x7,
    (2, Variant.ME): 0x8,
    (1, Variant.DOUBLE_MEMORY): 0x9,
    (1, Variant.GFX): 0xA,
    (2, Variant.GFX): 0xB,
    (4, Variant.GFX): 0xC,
    (1, Variant.NO_ME): 0xD,
    (2, Variant.NO_ME): 0xE,
    (1, Variant.ALL_ME): 0xF,
    (2, Variant.ALL_ME): 0x10,
    (3, Variant.GFX): 0x11,
}


def _text_of(placements: tuple[Placement, ...]) -> str:
    starts = ",".join(str(each.start) for each in placements)
    return f"{{{starts}}}:{placements[0].size}"


Placements = Annotated[
    tuple[Placement, ...], PlainValidator(read_placements), PlainSerializer(_text_of, return_type=str)
]


class GpuInstanceProfile(Profile):
    """One way to cut: `slices` of compute, a run of memory slices at one of `at`, and engines of its own."""

    slices: Annotated[int, Field(ge=1, le=8)]
    variant: Annotated[Variant, by_name(Variant)] = Variant.PLAIN
    id: NonNegativeInt
    max: PositiveInt
    memory_mib: PositiveInt
    multiprocessors: PositiveInt
    copy_engines: NonNegativeInt = 0
    decoders: NonNegativeInt = 0
    encoders: NonNegativeInt = 0
    jpeg_engines: NonNegativeInt = 0
    optical_flow: NonNegativeInt = 0
    at: Placements  # starts and size of memory slices, as lgipp prints them
    name: str | None = None  # where the computed one is not what the driver says
    unverified: tuple[str, ...] = ()  # fields of this profile that no source confirms

    @property
    def number(self) -> int | None:
        """NVML_GPU_INSTANCE_PROFILE_*; None when NVML has none for this size and variant."""
        return _NUMBERS.get((self.slices, self.variant))

    @property
    def size(self) -> int:
        """Memory slices."""
        return self.at[0].size


@dataclass(frozen=True, slots=True)
class ComputeProfile:
    """A way to cut a GPU instance's compute: engines are shared by all who are in it."""

    id: int  # equals NVML_COMPUTE_INSTANCE_PROFILE_*
    slices: int
    multiprocessors: int
    at: tuple[Placement, ...]

    @property
    def max(self) -> int:
        """How many fit into an empty GPU instance."""
        return len(self.at)


class MigSpec(Profile):
    """Both axes and all profiles of a board; `compute_profiles` says which sizes a GPU instance of a size offers."""

    compute_slices: Annotated[int, Field(ge=1, le=8)]
    memory_slices: Annotated[int, Field(ge=1, le=8)]
    multiprocessors_per_slice: PositiveInt
    compute_profiles: dict[int, tuple[int, ...]]
    gpu_instances: Annotated[tuple[GpuInstanceProfile, ...], Field(min_length=1)]

    @cached_property
    def by_id(self) -> dict[int, GpuInstanceProfile]:
        """The profiles by the id that creation takes."""
        return {profile.id: profile for profile in self.gpu_instances}

    @cached_property
    def by_number(self) -> dict[int | None, GpuInstanceProfile]:
        """The profiles by the number that callers count up."""
        return {profile.number: profile for profile in self.gpu_instances}

    @cached_property
    def _compute(self) -> dict[int, dict[int, ComputeProfile]]:
        return {profile.id: _compute_profiles(self, profile) for profile in self.gpu_instances}

    def compute(self, profile: int) -> dict[int, ComputeProfile]:
        """Return what a GPU instance of a profile id can be cut into, by compute profile id."""
        return self._compute[profile]

    def full_compute(self, profile: int) -> ComputeProfile:
        """Return the compute profile that takes a whole GPU instance (`nvidia-smi mig -cgi … -C`)."""
        offered = self.compute(profile).values()
        return max(offered, key=lambda each: (each.slices, -each.id))

    @property
    def most_devices(self) -> int:
        """How many MIG devices can exist at once (nvmlDeviceGetMaxMigDeviceCount)."""
        return self.compute_slices


def compute_number(slices: int) -> int | None:
    """Return NVML_COMPUTE_INSTANCE_PROFILE_* of a size; None when NVML has none."""
    return _COMPUTE_NUMBERS.get(slices)


def _compute_profiles(spec: MigSpec, instance: GpuInstanceProfile) -> dict[int, ComputeProfile]:
    """List the sizes that a GPU instance offers, and 1_SLICE_REV1 beside the single slice as drivers do."""
    offered = {_COMPUTE_NUMBERS[size]: size for size in spec.compute_profiles.get(instance.slices, ())}
    if 1 in offered.values():
        offered[COMPUTE_REV1] = 1
    return {number: _compute_profile(spec, instance, number, size) for number, size in offered.items()}


def _compute_profile(spec: MigSpec, instance: GpuInstanceProfile, number: int, size: int) -> ComputeProfile:
    """Place sizes on multiples of the next power of two: 2c at 0, 2, 4 and 3c at 0, 4 of a 7g."""
    step = 1 << (size - 1).bit_length()
    starts = range(0, instance.slices - size + 1, step)
    whole = size == instance.slices
    return ComputeProfile(
        id=number,
        slices=size,
        multiprocessors=instance.multiprocessors if whole else size * spec.multiprocessors_per_slice,
        at=tuple(Placement(start, size) for start in starts),
    )
