"""Retired pages: boards with row remapping (Ampere and later) have none of them."""

from __future__ import annotations

from claimwright.emulator.model.health import RetiredPages
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.layout import Result

_CAUSES = 2  # nvmlPageRetirementCause_t: several single-bit errors, or a double-bit one


def get_retired_pages(call: Call, device: Handle, cause: int) -> list[int]:
    """Return the addresses of pages retired for this cause (nvmlDeviceGetRetiredPages)."""
    if cause >= _CAUSES:
        raise Refused(Result.INVALID_ARGUMENT)
    retired = _need_retirement(call, device)
    return list(retired.double_bit if cause else retired.single_bit)


def get_retired_pages_v2(call: Call, device: Handle, cause: int) -> tuple[list[int], list[int]]:
    """Return addresses and times (nvmlDeviceGetRetiredPages_v2)."""
    pages = get_retired_pages(call, device, cause)
    return pages, [0 for _ in pages]


def get_pending_status(call: Call, device: Handle) -> int:
    """Return whether a page waits for the next reset (nvmlDeviceGetRetiredPagesPendingStatus)."""
    return int(_need_retirement(call, device).pending)


def get_unrepairable_memory(call: Call, device: Handle, status: r.nvmlUnrepairableMemoryStatus_v1_t) -> None:
    """Tell whether a row could not be remapped (nvmlDeviceGetUnrepairableMemoryFlag_v1): another board is due."""
    gpu = call.gpu(device)
    if not gpu.board.memory.remap_banks:
        raise Refused(Result.NOT_SUPPORTED)
    status.bUnrepairableMemory = int(gpu.health.rows.failed)


def _need_retirement(call: Call, device: Handle) -> RetiredPages:
    """nvml.h: supported by ECC boards; those that remap rows instead answer NOT_SUPPORTED (Ampere and later)."""
    gpu = call.gpu(device)
    if gpu.ecc is None or gpu.board.memory.remap_banks:
        raise Refused(Result.NOT_SUPPORTED)
    return gpu.health.retired


ANSWERS = {
    "nvmlDeviceGetRetiredPages": get_retired_pages,
    "nvmlDeviceGetRetiredPages_v2": get_retired_pages_v2,
    "nvmlDeviceGetRetiredPagesPendingStatus": get_pending_status,
    "nvmlDeviceGetUnrepairableMemoryFlag_v1": get_unrepairable_memory,
}
