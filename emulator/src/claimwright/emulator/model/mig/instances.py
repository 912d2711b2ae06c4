"""What is cut out of a GPU at a moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from claimwright.emulator.model.mig.placements import Placement
from claimwright.emulator.model.vgpu.state import Scheduler


@dataclass(frozen=True, slots=True)
class ComputeInstance:
    """A part of a GPU instance's compute, on `placement` of its slices: a MIG device, with a UUID of its own."""

    id: int
    profile: int
    placement: Placement
    uuid: str


@dataclass(frozen=True, slots=True)
class GpuInstance:
    """A part of a GPU: memory slices `placement`, the engines of profile id `profile`; may hold no compute instance.

    `scheduler` is how vGPUs that share it take turns.
    """

    id: int
    profile: int
    placement: Placement
    compute_instances: tuple[ComputeInstance, ...] = ()
    scheduler: Scheduler = field(default_factory=Scheduler)

    def compute_instance(self, instance: int) -> ComputeInstance | None:
        """Return the compute instance of this id."""
        return next((each for each in self.compute_instances if each.id == instance), None)


@dataclass(frozen=True, slots=True)
class Mig:
    """MIG of one GPU: the mode in force, the mode that waits for a reset, and the instances by id."""

    current: bool = False
    pending: bool = False
    gpu_instances: tuple[GpuInstance, ...] = ()

    def gpu_instance(self, instance: int) -> GpuInstance | None:
        """Return the GPU instance of this id."""
        return next((each for each in self.gpu_instances if each.id == instance), None)

    def devices(self) -> Iterator[tuple[GpuInstance, ComputeInstance]]:
        """Yield the MIG devices in NVML's index order."""
        for instance in self.gpu_instances:
            for compute in instance.compute_instances:
                yield instance, compute

    def with_instance(self, changed: GpuInstance) -> Mig:
        """Return the state with a GPU instance added or replaced."""
        others = [each for each in self.gpu_instances if each.id != changed.id]
        return replace(self, gpu_instances=tuple(sorted([*others, changed], key=lambda each: each.id)))

    def without_instance(self, instance: int) -> Mig:
        """Return the state with a GPU instance gone."""
        return replace(self, gpu_instances=tuple(each for each in self.gpu_instances if each.id != instance))
