"""Confidential computing, which emulated nodes have off."""

from __future__ import annotations

from claimwright.emulator.model.board import Architecture
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.layout import Result


def get_settings(
    call: Call, settings: r.nvmlSystemConfComputeSettings_v1_t | r.nvmlSystemConfComputeSettings_v2_t
) -> None:
    """Tell that it is off, and so are its tools' mode and protected PCIe (nvmlSystemGetConfComputeSettings)."""
    _need_capable(call)
    settings.environment = settings.ccFeature = settings.devToolsMode = settings.multiGpuMode = 0
    if isinstance(settings, r.nvmlSystemConfComputeSettings_v2_t):
        settings.tdispState = 0


def _need_capable(call: Call) -> None:
    """Hopper and later are capable; nothing before is."""
    if not any(gpu.board.architecture >= Architecture.HOPPER for gpu in call.state.nvml_gpus):
        raise Refused(Result.NOT_SUPPORTED)


ANSWERS = {
    "nvmlSystemGetConfComputeSettings": get_settings,
    "nvmlSystemGetConfComputeSettings_v2": get_settings,
}
