"""vGPU: which types a board offers, what still fits, and the virtual GPUs that exist.

`spec` is the board's section as text, `types` what a type is, `capacity` the rules of sharing, `state` the vGPUs
of a node; the operations are in `model/operations/vgpu.py`.
"""

from claimwright.emulator.model.vgpu.capacity import Placed, creatable_types, free_placements, most_instances
from claimwright.emulator.model.vgpu.spec import VgpuSpec, type_of, types_of
from claimwright.emulator.model.vgpu.state import (
    GuestProcess,
    Scheduler,
    SchedulerPolicy,
    Vgpu,
    VgpuSettings,
    VirtualMachine,
)
from claimwright.emulator.model.vgpu.types import VgpuType

__all__ = [
    "GuestProcess",
    "Placed",
    "Scheduler",
    "SchedulerPolicy",
    "Vgpu",
    "VgpuSettings",
    "VgpuSpec",
    "VgpuType",
    "VirtualMachine",
    "creatable_types",
    "free_placements",
    "most_instances",
    "type_of",
    "types_of",
]
