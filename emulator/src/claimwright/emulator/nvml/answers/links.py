"""NVLink beyond its state: error counters set back, low power, bandwidth modes, firmware and encryption."""

from __future__ import annotations

from claimwright.emulator.model import GpuState
from claimwright.emulator.model.board import Architecture
from claimwright.emulator.model.operations import settings
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.layout import Result

_DEFAULT_THRESHOLD = 0xFFFFFFFF  # NVML_NVLINK_LOW_POWER_THRESHOLD_RESET
_HOPPER = Architecture.HOPPER


def reset_errors(call: Call, device: Handle, link: int) -> None:
    """Set a link's error counters to zero (nvmlDeviceResetNvLinkErrorCounters)."""
    call.need_admin()
    call.perform(settings.clear_link_errors, _linked(call, device).index, link)


def set_threshold(call: Call, device: Handle, given: r.nvmlNvLinkPowerThres_t) -> None:
    """Set when links go to low power (nvmlDeviceSetNvLinkDeviceLowPowerThreshold)."""
    call.need_admin()
    value = None if given.lowPwrThreshold == _DEFAULT_THRESHOLD else given.lowPwrThreshold
    call.perform(settings.set_link_threshold, call.whole_gpu(device).index, value)


def get_node_mode(call: Call) -> int:
    """Return the bandwidth mode of the node's links (nvmlSystemGetNvlinkBwMode)."""
    if not any(gpu.nvlinks and gpu.board.architecture == _HOPPER for gpu in call.state.gpus):
        raise Refused(Result.NOT_SUPPORTED)
    return int(call.state.settings.bandwidth_mode)


def set_node_mode(call: Call, mode: int) -> None:
    """Set it (nvmlSystemSetNvlinkBwMode); IN_USE while a process runs."""
    call.need_admin()
    call.perform(settings.set_node_bandwidth, mode)


def get_modes(call: Call, device: Handle, modes: r.nvmlNvlinkSupportedBwModes_v1_t) -> None:
    """List a GPU's bandwidth modes (nvmlDeviceGetNvlinkSupportedBwModes)."""
    known = settings.link_bandwidth_modes(call.whole_gpu(device))[: len(modes.bwModes)]
    modes.bwModes[: len(known)] = known
    modes.totalBwModes = len(known)


def get_mode(call: Call, device: Handle, mode: r.nvmlNvlinkGetBwMode_v1_t) -> None:
    """Tell a GPU's bandwidth mode and whether it is the best one (nvmlDeviceGetNvlinkBwMode)."""
    gpu = call.whole_gpu(device)
    settings.link_bandwidth_modes(gpu)
    mode.bwMode, mode.bIsBest = gpu.settings.link_bandwidth_mode, int(gpu.settings.link_bandwidth_mode == 0)


def set_mode(call: Call, device: Handle, mode: r.nvmlNvlinkSetBwMode_v1_t) -> None:
    """Set it, or the best one (nvmlDeviceSetNvlinkBwMode)."""
    _set_mode(call, device, 0 if mode.bSetBest else mode.bwMode)


def set_mode_soon(call: Call, device: Handle, mode: r.nvmlNvlinkSetBwModeAsync_v1_t) -> None:
    """Set it without waiting: here it is in force at once (nvmlDeviceSetNvlinkBwModeAsync_v1)."""
    _set_mode(call, device, 0 if mode.bSetBest else mode.bwMode)


def get_info(call: Call, device: Handle, info: r.nvmlNvLinkInfo_v1_t | r.nvmlNvLinkInfo_v2_t) -> None:
    """Tell that links are not encrypted, and in version 2 no firmware of their own (nvmlDeviceGetNvLinkInfo)."""
    _linked(call, device)
    info.isNvleEnabled = 0
    if isinstance(info, r.nvmlNvLinkInfo_v2_t):
        info.firmwareInfo.numValidEntries = 0


def get_info_v3(call: Call, device: Handle, info: r.nvmlNvLinkInfo_v3_t) -> None:
    """Tell the same, and that encryption is not being set up (nvmlDeviceGetNvLinkInfo_v3)."""
    _linked(call, device)
    info.isNvleEnabled = info.isNvleReady = info.firmwareInfo.numValidEntries = 0


def _set_mode(call: Call, device: Handle, mode: int) -> None:
    gpu = call.whole_gpu(device)
    settings.link_bandwidth_modes(gpu)
    call.need_admin()
    call.perform(settings.set_link_bandwidth, gpu.index, mode)


def _linked(call: Call, device: Handle) -> GpuState:
    gpu = call.whole_gpu(device)
    if not gpu.nvlinks:
        raise Refused(Result.NOT_SUPPORTED)
    return gpu


ANSWERS = {
    "nvmlDeviceResetNvLinkErrorCounters": reset_errors,
    "nvmlDeviceSetNvLinkDeviceLowPowerThreshold": set_threshold,
    "nvmlSystemGetNvlinkBwMode": get_node_mode,
    "nvmlSystemSetNvlinkBwMode": set_node_mode,
    "nvmlDeviceGetNvlinkSupportedBwModes": get_modes,
    "nvmlDeviceGetNvlinkBwMode": get_mode,
    "nvmlDeviceSetNvlinkBwMode": set_mode,
    "nvmlDeviceSetNvlinkBwModeAsync_v1": set_mode_soon,
    "nvmlDeviceGetNvLinkInfo": get_info,
    "nvmlDeviceGetNvLinkInfo_v3": get_info_v3,
}
