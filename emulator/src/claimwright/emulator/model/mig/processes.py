"""Which MIG device a process runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claimwright.emulator.errors import OperationRefused, Refusal

if TYPE_CHECKING:
    from claimwright.emulator.model.state import GpuProcess, GpuState


def check_instance(gpu: GpuState, process: GpuProcess) -> None:
    """Refuse a process that names no MIG device where the mode is on, or one that does not exist."""
    named = (process.gpu_instance, process.compute_instance)
    if not (gpu.mig and gpu.mig.current):
        if named != (None, None):
            raise OperationRefused(
                Refusal.INVALID_ARGUMENT, f"MIG is off on GPU {gpu.index}: name no instance"
            )
        return
    if None in named:
        said = f"MIG is on on GPU {gpu.index}: name gpu_instance and compute_instance"
        raise OperationRefused(Refusal.INVALID_ARGUMENT, said)
    if named not in {(held.id, compute.id) for held, compute in gpu.mig.devices()}:
        said = f"GPU {gpu.index} has no MIG device in GPU instance {named[0]}, compute instance {named[1]}"
        raise OperationRefused(Refusal.NOT_FOUND, said)
