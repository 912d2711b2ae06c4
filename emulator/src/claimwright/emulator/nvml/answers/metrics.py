"""GPU performance metrics (GPM): counters for the library's samples; it computes metrics from two of them."""

from __future__ import annotations

from claimwright.emulator.model import GpuState
from claimwright.emulator.model.board import Architecture
from claimwright.emulator.model.operations import settings
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.layout import Result

_WHOLE = 0xFFFFFFFF
_VERSION = 1  # NVML_GPM_SUPPORT_VERSION


def read_counters(call: Call, device: Handle, instance: int) -> list[int]:
    """Return the time and the sums of load that gpm.c expects, in its order (a call of our own)."""
    gpu = _supporting(call, device)
    if instance != _WHOLE and (gpu.mig is None or gpu.mig.gpu_instance(instance) is None):
        raise Refused(Result.INVALID_ARGUMENT)
    now = call.history.clock()
    sums = call.history.of(gpu.index).until(now)
    return [now, sums.gpu, sums.memory, sums.encoder, sums.decoder, sums.jpeg, sums.optical_flow]


def get_support(call: Call, device: Handle, support: r.nvmlGpmSupport_t) -> None:
    """Tell whether the GPU has metrics: Hopper and later (nvmlGpmQueryDeviceSupport)."""
    if support.version != _VERSION:
        raise Refused(Result.ARGUMENT_VERSION_MISMATCH)
    support.isSupportedDevice = int(call.gpu(device).board.architecture >= Architecture.HOPPER)


def get_streaming(call: Call, device: Handle) -> int:
    """Return whether metrics are streamed (nvmlGpmQueryIfStreamingEnabled)."""
    return int(_supporting(call, device).settings.metrics_streaming)


def set_streaming(call: Call, device: Handle, state: int) -> None:
    """Stream metrics or not (nvmlGpmSetStreamingEnabled)."""
    if state > 1:
        raise Refused(Result.INVALID_ARGUMENT)
    call.need_admin()
    call.perform(settings.set_metrics_streaming, call.gpu(device).index, enabled=bool(state))


def _supporting(call: Call, device: Handle) -> GpuState:
    gpu = call.gpu(device)
    if gpu.board.architecture < Architecture.HOPPER:
        raise Refused(Result.NOT_SUPPORTED)
    return gpu


ANSWERS = {
    "claimwrightReadGpmCounters": read_counters,
    "nvmlGpmQueryDeviceSupport": get_support,
    "nvmlGpmQueryIfStreamingEnabled": get_streaming,
    "nvmlGpmSetStreamingEnabled": set_streaming,
}
