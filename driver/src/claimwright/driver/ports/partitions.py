"""Multi-Instance GPU as a port: what a GPU can be cut into, what it is cut into, and the cuts themselves.

Numbers are NVML's: `profile_id` is the id of a GPU instance profile (19 for 1g.10gb), not its enumerator; a placement
is the first memory slice and how many.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, order=True)
class Placement:
    """The memory slices `start` to `start + size - 1` of a GPU."""

    start: int
    size: int

    @property
    def slices(self) -> range:
        """The numbers of its memory slices."""
        return range(self.start, self.start + self.size)


@dataclass(frozen=True)
class PartitionProfile:
    """A size that the GPU can be cut into, with all that one such partition has, and where it can be."""

    profile_id: int
    name: str
    compute_slices: int
    multiprocessors: int
    copy_engines: int
    decoders: int
    encoders: int
    jpeg_engines: int
    ofa_engines: int
    memory_bytes: int
    placements: tuple[Placement, ...] = ()


@dataclass(frozen=True)
class ComputeInstance:
    """A compute instance of a partition; `uuid` is that of its MIG device."""

    compute_instance: int
    uuid: str


@dataclass(frozen=True)
class Partition:
    """A GPU instance that exists."""

    gpu_instance: int
    profile_id: int
    placement: Placement
    compute_instances: tuple[ComputeInstance, ...] = ()


@dataclass(frozen=True)
class MigReading:
    """MIG of one GPU that is capable of it; `pending` is the mode after the next reset."""

    enabled: bool
    pending: bool
    profiles: tuple[PartitionProfile, ...] = ()
    partitions: tuple[Partition, ...] = ()


class Partitions(Protocol):
    """Cuts GPUs, which are named by uuid.

    StepFailed carries NVML's word for what went wrong, GpuGone that the GPU is not there any more.
    """

    def open(self) -> AbstractContextManager[None]:
        """Have NVML ready within this context: calls that follow each other need not start it each for itself."""
        ...

    def read(self, gpu_uuid: str) -> MigReading | None:
        """Return mode and partitions now, without profiles; None when the GPU is not capable of MIG."""
        ...

    def switch(self, gpu_uuid: str, *, enabled: bool) -> None:
        """Switch MIG mode at once; StepFailed when a client or the hardware stands in the way."""
        ...

    def create(self, gpu_uuid: str, profile_id: int, placement: Placement) -> Partition:
        """Make a GPU instance there and one compute instance that fills it; what fails leaves nothing."""
        ...

    def destroy(self, gpu_uuid: str, gpu_instance: int) -> None:
        """Remove a GPU instance with all in it; one that is gone is fine."""
        ...
