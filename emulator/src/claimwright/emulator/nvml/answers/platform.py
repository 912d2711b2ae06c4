"""Where a GPU sits in a rack, and what its flight recorder says."""

from __future__ import annotations

import time
from functools import cache

from claimwright.emulator.model import GpuState
from claimwright.emulator.model.board.names import Architecture, FabricGuid
from claimwright.emulator.model.fabric.tray import Tray
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.identity import pdi_of
from claimwright.emulator.nvml.layout import Result

_NOT_TOLD = 0xFF  # a slot or tray that the platform does not number
_SWITCH_CONNECTED = 1
_FLUSH_MICROSECONDS = 60_000  # captured boards took 61 and 93 ms


def get_platform_info(
    call: Call, device: Handle, info: r.nvmlPlatformInfo_v1_t | r.nvmlPlatformInfo_v2_t
) -> None:
    """Fill in chassis, slot and fabric GUID; Blackwell and later only (nvmlDeviceGetPlatformInfo)."""
    gpu = call.gpu(device)
    if gpu.board.architecture < Architecture.BLACKWELL or not gpu.board.fabric_capable:
        raise Refused(Result.NOT_SUPPORTED)
    info.ibGuid[:8] = _guid(gpu).to_bytes(8, "big")
    info.peerType = _SWITCH_CONNECTED
    info.moduleId = gpu.module_id
    tray = call.state.tray
    serial = ((tray and tray.chassis_serial) or "").encode().ljust(16, b"\0")
    slot, index, host = (_NOT_TOLD, _NOT_TOLD, 1) if tray is None else _place(tray)
    if isinstance(info, r.nvmlPlatformInfo_v1_t):
        info.rackGuid[:] = serial
        info.chassisPhysicalSlotNumber, info.computeSlotIndex, info.nodeIndex = slot, index, host
    else:
        info.chassisSerialNumber[:] = serial
        info.slotNumber, info.trayIndex, info.hostId = slot, index, host


def _place(tray: Tray) -> tuple[int, int, int]:
    return (
        _NOT_TOLD if tray.slot is None else tray.slot,
        _NOT_TOLD if tray.index is None else tray.index,
        tray.host_id,
    )


def get_last_flush(call: Call, device: Handle) -> tuple[int, int]:
    """Return when the InfoROM's recorder was last written and how long it took, us (nvmlDeviceGetLastBBXFlushTime)."""
    if not call.gpu(device).board.black_box:
        raise Refused(Result.NOT_SUPPORTED)
    return _flushed_at(), _FLUSH_MICROSECONDS


@cache
def _flushed_at() -> int:
    """The recorder of an emulated board is written once: when it is first looked at."""
    return time.time_ns() // 1000


def _guid(gpu: GpuState) -> int:
    """GB200 gives its PDI; HGX B200 another number, so its neighbour here."""
    pdi = pdi_of(gpu)
    if gpu.board.fabric_guid is None:
        return 0
    return pdi if gpu.board.fabric_guid is FabricGuid.PDI else pdi ^ 1


ANSWERS = {
    "nvmlDeviceGetPlatformInfo": get_platform_info,
    "nvmlDeviceGetLastBBXFlushTime": get_last_flush,
}
