"""MIG: what a board can be cut into, what is cut at a moment, and the rules for more.

`MigSpec` is the `mig:` section of a board, `Mig` the state of one GPU; `room` answers what still fits and where the
hardware would put it. All pure; the operations that change a GPU are in `model.operations.mig`.
"""

from claimwright.emulator.model.mig.instances import ComputeInstance, GpuInstance, Mig
from claimwright.emulator.model.mig.naming import (
    compute_profile_name,
    gpu_instance_id,
    mig_uuid,
    profile_name,
)
from claimwright.emulator.model.mig.placements import Placement
from claimwright.emulator.model.mig.profiles import (
    COMPUTE_PROFILES,
    GPU_INSTANCE_PROFILES,
    ComputeProfile,
    GpuInstanceProfile,
    MigSpec,
    Variant,
)

__all__ = [
    "COMPUTE_PROFILES",
    "GPU_INSTANCE_PROFILES",
    "ComputeInstance",
    "ComputeProfile",
    "GpuInstance",
    "GpuInstanceProfile",
    "Mig",
    "MigSpec",
    "Placement",
    "Variant",
    "compute_profile_name",
    "gpu_instance_id",
    "mig_uuid",
    "profile_name",
]
