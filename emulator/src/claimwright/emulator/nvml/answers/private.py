"""What nvidia-smi asks beside nvml.h (nvml/private.py): facts by name, and a reset."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from claimwright.emulator.model import GpuState
from claimwright.emulator.model.operations import faults
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.layout import Result


def _sparse_operation(gpu: GpuState) -> str | None:
    return "Disabled" if gpu.board.sparse_operation_mode else None


_FACTS: Mapping[str, Callable[[GpuState], str | None]] = {
    "gpu_part_number": lambda gpu: gpu.board.parts.gpu,
    "sparse_operation_mode": _sparse_operation,
    "time_slice": lambda gpu: str(int(gpu.time_slice)),
}


def get_fact(call: Call, device: Handle, name: str) -> str:
    """Return a fact of a GPU as text: NOT_FOUND for an unknown name, NOT_SUPPORTED where the board has none."""
    fact = _FACTS.get(name)
    if fact is None:
        raise Refused(Result.NOT_FOUND)
    told = fact(call.gpu(device))
    if told is None:
        raise Refused(Result.NOT_SUPPORTED)
    return told


def reset(call: Call, device: Handle) -> None:
    """Reset a GPU that nothing uses (`nvidia-smi -r`)."""
    call.gpu(device)
    call.need_admin()
    call.perform(faults.reset_gpu, device.gpu)


ANSWERS = {"claimwrightDeviceGetFact": get_fact, "claimwrightDeviceReset": reset}
