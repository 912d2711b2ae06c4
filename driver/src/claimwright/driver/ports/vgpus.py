"""Virtual GPUs as a port: what a GPU can host, and the virtual machines that run on what it hosts.

Numbers are NVML's: `type_id` is the id of a vGPU type on this machine's driver, which sysfs uses as well
(`nvidia-<id>` of mediated devices, `current_vgpu_type` of virtual functions).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, order=True)
class VgpuPlace:
    """Where a vGPU may be in mixed-size mode: `size` of the GPU's slots from `start` on."""

    start: int
    size: int


@dataclass(frozen=True)
class VgpuType:
    """A vGPU type of one GPU in its present mode; `most` is how many of it an empty GPU holds.

    `places` are where they may be in mixed-size mode, empty elsewhere; `license` are products and versions by falling
    preference, as NVML writes them; `frame_rate_limit` is None where there is no limiter.
    """

    type_id: int
    name: str
    class_name: str
    framebuffer_bytes: int
    most: int
    display_heads: int
    resolution: tuple[int, int] | None
    frame_rate_limit: int | None
    license: str
    places: tuple[VgpuPlace, ...] = ()


@dataclass(frozen=True)
class VgpuReading:
    """A GPU as a host of vGPUs; `on_functions` when they are on virtual functions, else mediated devices."""

    on_functions: bool
    mixed_sizes: bool
    types: tuple[VgpuType, ...]


@dataclass(frozen=True)
class RunningVgpu:
    """A vGPU on which a virtual machine runs; `mdev` is its mediated device's uuid where it is on one."""

    type_id: int
    machine: str
    mdev: str | None = None


class Vgpus(Protocol):
    """Looks at the virtual machines of GPUs, which are named by uuid."""

    def running(self, gpu_uuid: str) -> tuple[RunningVgpu, ...]:
        """Return the vGPUs that machines run on now, none where NVML does not tell; StepFailed when it fails."""
        ...
