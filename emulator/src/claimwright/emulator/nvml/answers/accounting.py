"""Accounting: what processes used, kept from the moment that the mode is on."""

from __future__ import annotations

from claimwright.emulator.model.operations import settings
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.history import Accounted, Totals
from claimwright.emulator.nvml.layout import Result

_UNKNOWN_END = 0


def get_mode(call: Call, device: Handle) -> int:
    """Return whether processes are counted (nvmlDeviceGetAccountingMode)."""
    return int(call.whole_gpu(device).settings.accounting)


def set_mode(call: Call, device: Handle, mode: int) -> None:
    """Turn accounting on or off (nvmlDeviceSetAccountingMode)."""
    if mode > 1:
        raise Refused(Result.INVALID_ARGUMENT)
    call.need_admin()
    call.perform(settings.set_accounting_mode, call.whole_gpu(device).index, enabled=bool(mode))


def clear(call: Call, device: Handle) -> None:
    """Forget ended processes (nvmlDeviceClearAccountingPids)."""
    call.need_admin()
    call.perform(settings.clear_accounting, call.whole_gpu(device).index)


def get_pids(call: Call, device: Handle) -> list[int]:
    """Return the processes known, running ones too, oldest first (nvmlDeviceGetAccountingPids)."""
    return [known.pid for known in _known(call, device)]


def get_stats(call: Call, device: Handle, pid: int, stats: r.nvmlAccountingStats_t) -> None:
    """Tell what one process used (nvmlDeviceGetAccountingStats)."""
    _tell(call, device, pid, stats)


def get_stats_v2(call: Call, device: Handle, stats: r.nvmlAccountingStats_v2_t) -> None:
    """Tell the same with sums of samples; the caller's record names the process."""
    _, used, passed = _tell(call, device, stats.pid, stats)
    stats.sampleCount = passed // 1_000_000
    stats.sumGpuUtil, stats.sumFbUtil = used.gpu // 1_000_000, used.memory // 1_000_000


def _known(call: Call, device: Handle) -> list[Accounted]:
    gpu = call.whole_gpu(device)
    if not gpu.settings.accounting:
        raise Refused(Result.NOT_SUPPORTED)
    return list(call.history.of(gpu.index).processes)


def _tell(
    call: Call, device: Handle, pid: int, stats: r.nvmlAccountingStats_t | r.nvmlAccountingStats_v2_t
) -> tuple[Accounted, Totals, int]:
    """Fill what both records have; a pid that was used twice means its last process."""
    known = next((each for each in reversed(_known(call, device)) if each.pid == pid), None)
    if known is None:
        raise Refused(Result.NOT_FOUND)
    now, end = call.history.clock(), known.after or call.history.totals(device.gpu)
    passed = max(1, (known.ended or now) - known.started)
    used = Totals(gpu=end.gpu - known.before.gpu, memory=end.memory - known.before.memory)
    stats.gpuUtilization, stats.memoryUtilization = used.gpu // passed, used.memory // passed
    stats.maxMemoryUsage, stats.startTime = known.memory_bytes, known.started
    stats.isRunning = int(not known.ended)
    stats.time = passed // 1000 if known.ended else _UNKNOWN_END  # nvml.h: 0 while the process runs
    return known, used, passed


ANSWERS = {
    "nvmlDeviceGetAccountingMode": get_mode,
    "nvmlDeviceSetAccountingMode": set_mode,
    "nvmlDeviceClearAccountingPids": clear,
    "nvmlDeviceGetAccountingPids": get_pids,
    "nvmlDeviceGetAccountingStats": get_stats,
    "nvmlDeviceGetAccountingStats_v2": get_stats_v2,
}
