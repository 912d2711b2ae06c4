"""Single facts of a GPU: its host's name, times, what its encoders can take, banks and SRAM errors."""

from __future__ import annotations

from claimwright.emulator.model.board import Architecture
from claimwright.emulator.model.operations import settings
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.layout import Result

_ENCODERS = 4  # nvmlEncoderType_t: H.264, HEVC, AV1, and "unknown"
_AV1 = 2


def get_hostname(call: Call, device: Handle, name: r.nvmlHostname_v1_t) -> None:
    """Tell the name that an admin gave (nvmlDeviceGetHostname_v1)."""
    name.value = call.whole_gpu(device).settings.hostname.encode()


def set_hostname(call: Call, device: Handle, name: r.nvmlHostname_v1_t) -> None:
    """Give the GPU its host's name (nvmlDeviceSetHostname_v1)."""
    gpu = call.whole_gpu(device)
    call.need_admin()
    call.perform(settings.set_hostname, gpu.index, name.value.decode("latin-1"))


def get_uptime(call: Call, device: Handle, uptime: r.nvmlGpuUptime_v1_t) -> None:
    """Tell for how many seconds the driver has held the GPU (nvmlDeviceGetGpuUptime_v1)."""
    past = call.history.of(call.whole_gpu(device).index)
    uptime.uptime = (call.history.clock() - past.booted) // 1_000_000


def get_run_time(call: Call, device: Handle, recorded: r.nvmlBBXTimeData_v1_t) -> None:
    """Tell the seconds that the flight recorder counted (nvmlDeviceGetBBXTimeData_v1)."""
    gpu = call.whole_gpu(device)
    if not gpu.board.black_box:
        raise Refused(Result.NOT_SUPPORTED)
    recorded.timeRun = (call.history.clock() - call.history.of(gpu.index).booted) // 1_000_000


def get_encoder_capacity(call: Call, device: Handle, encoder: int) -> int:
    """Return what is left of the encoders, percent (nvmlDeviceGetEncoderCapacity)."""
    gpu = call.whole_gpu(device)
    if encoder >= _ENCODERS:
        raise Refused(Result.INVALID_ARGUMENT)
    if not gpu.board.engines.encoders or encoder > _AV1:
        raise Refused(Result.NOT_SUPPORTED)
    if encoder == _AV1 and gpu.board.architecture < Architecture.ADA:
        raise Refused(Result.NOT_SUPPORTED)
    return 100 - gpu.utilization.encoder


def get_bank_remapper(call: Call, device: Handle, status: r.nvmlEccBankRemapperStatus_v1_t) -> None:
    """Tell that no bank of a board that can remap banks is (nvmlDeviceGetBankRemapperStatus_v1)."""
    gpu = call.whole_gpu(device)
    if gpu.board.architecture < Architecture.BLACKWELL or not gpu.board.memory.remap_banks:
        raise Refused(Result.NOT_SUPPORTED)
    status.activeRemappings = status.inactiveRemappings = status.histogram.noSpareGroupCount = 0
    status.bPending, status.histogram.maxSpareGroupCount = (
        int(gpu.health.rows.pending),
        gpu.board.memory.remap_banks,
    )


def get_unique_errors(
    call: Call, device: Handle, counts: r.nvmlEccSramUniqueUncorrectedErrorCounts_v1_t
) -> list[r.nvmlEccSramUniqueUncorrectedErrorEntry_v1_t]:
    """Return each SRAM address with uncorrected errors: the errors that we model are in the frame buffer."""
    del counts
    gpu = call.whole_gpu(device)
    if gpu.ecc is None or not gpu.ecc.current or gpu.board.architecture < Architecture.AMPERE:
        raise Refused(Result.NOT_SUPPORTED)
    return []


ANSWERS = {
    "nvmlDeviceGetHostname_v1": get_hostname,
    "nvmlDeviceSetHostname_v1": set_hostname,
    "nvmlDeviceGetGpuUptime_v1": get_uptime,
    "nvmlDeviceGetBBXTimeData_v1": get_run_time,
    "nvmlDeviceGetEncoderCapacity": get_encoder_capacity,
    "nvmlDeviceGetBankRemapperStatus_v1": get_bank_remapper,
    "nvmlDeviceGetSramUniqueUncorrectedEccErrorCounts": get_unique_errors,
}
