"""The numbers behind NVML's handles: the same in every process, stateless, and made of what they name.

The library hands out addresses in one array of bytes; a handle's place in it is its number.
"""

from __future__ import annotations

from dataclasses import dataclass

from claimwright.emulator.nvml.layout import CAPACITY

INSTANCES = 15  # GPU instances of one GPU (nv-caps numbers as many: 15 per GPU, 8 compute instances each)
COMPUTE_INSTANCES = 8

MIG_DEVICES = CAPACITY
GPU_INSTANCES = MIG_DEVICES + CAPACITY * INSTANCES * COMPUTE_INSTANCES
COMPUTE_INSTANCE_HANDLES = GPU_INSTANCES + CAPACITY * INSTANCES
HANDLES = COMPUTE_INSTANCE_HANDLES + CAPACITY * INSTANCES * COMPUTE_INSTANCES
NO_HANDLE = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class Handle:
    """What a handle names: a GPU, a MIG device (both instances), a GPU instance, or a compute instance.

    `number` is what travels; `is_device` tells an nvmlDevice_t from an instance handle.
    """

    number: int
    gpu: int
    gpu_instance: int | None = None
    compute_instance: int | None = None
    is_device: bool = True

    @property
    def is_mig_device(self) -> bool:
        """True for the nvmlDevice_t of a compute instance."""
        return self.is_device and self.compute_instance is not None


def handle_of(number: int) -> Handle | None:
    """Return what a number names, or None when it names nothing."""
    if 0 <= number < MIG_DEVICES:
        return Handle(number, number)
    if number < GPU_INSTANCES:
        return _compute(number, number - MIG_DEVICES, is_device=True)
    if number < COMPUTE_INSTANCE_HANDLES:
        gpu, instance = divmod(number - GPU_INSTANCES, INSTANCES)
        return Handle(number, gpu, instance, is_device=False)
    if number < HANDLES:
        return _compute(number, number - COMPUTE_INSTANCE_HANDLES, is_device=False)
    return None


def gpu_handle(gpu: int) -> Handle:
    """Return the nvmlDevice_t of a GPU."""
    return Handle(gpu, gpu)


def mig_device_handle(gpu: int, gpu_instance: int, compute_instance: int) -> Handle:
    """Return the nvmlDevice_t of a MIG device."""
    number = MIG_DEVICES + _place(gpu, gpu_instance) * COMPUTE_INSTANCES + compute_instance
    return Handle(number, gpu, gpu_instance, compute_instance)


def gpu_instance_handle(gpu: int, gpu_instance: int) -> Handle:
    """Return the nvmlGpuInstance_t of a GPU instance."""
    return Handle(GPU_INSTANCES + _place(gpu, gpu_instance), gpu, gpu_instance, is_device=False)


def compute_instance_handle(gpu: int, gpu_instance: int, compute_instance: int) -> Handle:
    """Return the nvmlComputeInstance_t of a compute instance."""
    number = COMPUTE_INSTANCE_HANDLES + _place(gpu, gpu_instance) * COMPUTE_INSTANCES + compute_instance
    return Handle(number, gpu, gpu_instance, compute_instance, is_device=False)


def _place(gpu: int, gpu_instance: int) -> int:
    return gpu * INSTANCES + gpu_instance


def _compute(number: int, place: int, *, is_device: bool) -> Handle:
    rest, compute_instance = divmod(place, COMPUTE_INSTANCES)
    gpu, gpu_instance = divmod(rest, INSTANCES)
    return Handle(number, gpu, gpu_instance, compute_instance, is_device=is_device)
