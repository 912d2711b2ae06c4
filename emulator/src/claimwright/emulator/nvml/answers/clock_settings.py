"""Locked, application and offset clocks, and the performance states they belong to."""

from __future__ import annotations

from claimwright.emulator.model import GpuState
from claimwright.emulator.model.board import Architecture
from claimwright.emulator.model.operations import settings
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.layout import Result

_GRAPHICS, _SM, _MEMORY, _VIDEO = range(4)  # nvmlClockType_t
_UNKNOWN_STATE = 32  # NVML_PSTATE_UNKNOWN
_STATES = 16
_APPLICATION_CLOCKS_API, _AUTO_BOOST_API = 0, 1  # nvmlRestrictedAPI_t


def lock_memory(call: Call, device: Handle, lowest: int, highest: int) -> None:
    """Hold the memory clock in a range (nvmlDeviceSetMemoryLockedClocks)."""
    call.need_admin()
    call.perform(settings.lock_memory_clocks, call.whole_gpu(device).index, lowest, highest)


def unlock_memory(call: Call, device: Handle) -> None:
    """Let it go (nvmlDeviceResetMemoryLockedClocks)."""
    call.need_admin()
    call.perform(settings.unlock_memory_clocks, call.whole_gpu(device).index)


def set_applications(call: Call, device: Handle, memory: int, graphics: int) -> None:
    """Set the clocks that processes run at (nvmlDeviceSetApplicationsClocks)."""
    call.perform(settings.set_application_clocks, _changeable(call, device).index, memory, graphics)


def reset_applications(call: Call, device: Handle) -> None:
    """Go back to the default (nvmlDeviceResetApplicationsClocks)."""
    call.perform(settings.reset_application_clocks, _changeable(call, device).index)


def get_restriction(call: Call, device: Handle, api: int) -> int:
    """Return whether administrators alone may set application clocks (nvmlDeviceGetAPIRestriction)."""
    gpu = call.whole_gpu(device)
    _need_clock_api(api)
    return int(not gpu.settings.free_application_clocks)


def restrict(call: Call, device: Handle, api: int, restricted: int) -> None:
    """Let everybody set application clocks, or administrators alone (nvmlDeviceSetAPIRestriction)."""
    gpu = call.whole_gpu(device)
    _need_clock_api(api)
    if restricted > 1:
        raise Refused(Result.INVALID_ARGUMENT)
    call.need_admin()
    call.perform(settings.restrict_application_clocks, gpu.index, restricted=bool(restricted))


def _need_clock_api(api: int) -> None:
    """Of nvmlRestrictedAPI_t, auto boosted clocks ended with Kepler."""
    if api not in {_APPLICATION_CLOCKS_API, _AUTO_BOOST_API}:
        raise Refused(Result.INVALID_ARGUMENT)
    if api == _AUTO_BOOST_API:
        raise Refused(Result.NOT_SUPPORTED)


def _changeable(call: Call, device: Handle) -> GpuState:
    gpu = call.whole_gpu(device)
    if not gpu.settings.free_application_clocks:
        call.need_admin()
    return gpu


def get_states(call: Call, device: Handle) -> list[int]:
    """Return the board's states, best first, and fill the rest with "unknown"; a short array is refused."""
    states = sorted({0, call.whole_gpu(device).board.idle_performance_state})
    room = call.room("pstates")
    if room < len(states):
        raise Refused(Result.INSUFFICIENT_SIZE)
    return (states + [_UNKNOWN_STATE] * _STATES)[: min(room, _STATES)]


def get_range(call: Call, device: Handle, kind: int, state: int) -> tuple[int, int]:
    """Return the lowest and highest clock of a state (nvmlDeviceGetMinMaxClockOfPState)."""
    gpu = call.whole_gpu(device)
    if kind > _VIDEO or state >= _STATES:
        raise Refused(Result.INVALID_ARGUMENT)
    return _range(gpu, kind, state)


def get_modes(call: Call, device: Handle, modes: r.nvmlDevicePerfModes_v1_t) -> None:
    """Write each state's clocks as text (nvmlDeviceGetPerformanceModes)."""
    gpu = call.whole_gpu(device)
    states = sorted({0, gpu.board.idle_performance_state})
    modes.str = "; ".join(f"perf={state}, {_text(gpu, state)}" for state in states).encode()


def get_current(call: Call, device: Handle, clocks: r.nvmlDeviceCurrentClockFreqs_v1_t) -> None:
    """Write the present clocks as text (nvmlDeviceGetCurrentClockFreqs)."""
    gpu = call.whole_gpu(device)
    clocks.str = _text(gpu, gpu.performance_state, gpu.clocks.graphics, gpu.clocks.memory).encode()


def get_loads(call: Call, device: Handle, info: r.nvmlGpuDynamicPstatesInfo_t) -> None:
    """Tell the load of GPU, frame buffer, video engine and bus (nvmlDeviceGetDynamicPstatesInfo)."""
    busy = call.whole_gpu(device).utilization
    info.flags = 1  # dynamic states are on
    for place, percent in enumerate((busy.gpu, busy.memory, max(busy.encoder, busy.decoder), 0)):
        info.utilization[place].bIsPresent, info.utilization[place].percentage = 1, percent


def get_offset(call: Call, device: Handle) -> int:
    """Return the offset of the voltage-frequency curve: 0, data-centre boards do not let it be moved."""
    call.whole_gpu(device)
    return 0


def get_offset_range(call: Call, device: Handle) -> tuple[int, int]:
    """Return how far the curve can be moved."""
    call.whole_gpu(device)
    return 0, 0


def set_offset(call: Call, device: Handle, offset: int) -> None:
    """Move the curve, by no more than the range allows."""
    call.need_admin()
    call.whole_gpu(device)
    if offset:
        raise Refused(Result.INVALID_ARGUMENT)


def get_offsets(call: Call, device: Handle, info: r.nvmlClockOffset_v1_t) -> None:
    """Tell offset and range of one clock in one state (nvmlDeviceGetClockOffsets)."""
    gpu = call.whole_gpu(device)
    if info.type not in {_GRAPHICS, _MEMORY} or info.pstate >= _STATES:
        raise Refused(Result.INVALID_ARGUMENT)
    _range(gpu, info.type, info.pstate)
    info.clockOffsetMHz = info.minClockOffsetMHz = info.maxClockOffsetMHz = 0


def set_offsets(call: Call, device: Handle, info: r.nvmlClockOffset_v1_t) -> None:
    """Set the offset of one clock in one state, within its range (nvmlDeviceSetClockOffsets)."""
    if info.type not in {_GRAPHICS, _MEMORY} or info.pstate >= _STATES:
        raise Refused(Result.INVALID_ARGUMENT)
    set_offset(call, device, info.clockOffsetMHz)


def get_monitor(call: Call, device: Handle, status: r.nvmlClkMonStatus_t) -> None:
    """Tell which clock domains strayed (nvmlDeviceGetClkMonStatus): none, as long as no fault says so."""
    if call.whole_gpu(device).board.architecture < Architecture.AMPERE:
        raise Refused(Result.NOT_SUPPORTED)
    status.bGlobalStatus = status.clkMonListSize = 0


def _range(gpu: GpuState, kind: int, state: int) -> tuple[int, int]:
    board = gpu.board
    if state not in {0, board.idle_performance_state}:
        raise Refused(Result.NOT_SUPPORTED)
    steps = sorted(board.supported_clocks, key=lambda step: step.memory)
    step = steps[-1] if state == 0 else steps[0]
    if kind == _MEMORY:
        return step.memory, step.memory
    if kind == _VIDEO:
        return board.idle_clocks.video, board.max_clocks.video
    return step.lowest, step.highest


def _text(gpu: GpuState, state: int, graphics: int | None = None, memory: int | None = None) -> str:
    parts = []
    for name, kind, now in (("nvclock", _GRAPHICS, graphics), ("memclock", _MEMORY, memory)):
        low, high = _range(gpu, kind, state)
        parts.append(
            f"{name}={high if now is None else now}, {name}min={low}, {name}max={high}, {name}editable=0"
        )
    return ", ".join(parts)


# The curve of a data-centre board does not move.
FIXED = frozenset(
    f"nvmlDevice{verb}{clock}{what}"
    for clock in ("GpcClk", "MemClk")
    for verb, what in (("Get", "VfOffset"), ("Set", "VfOffset"), ("Get", "MinMaxVfOffset"))
)

ANSWERS = {
    "nvmlDeviceSetMemoryLockedClocks": lock_memory,
    "nvmlDeviceResetMemoryLockedClocks": unlock_memory,
    "nvmlDeviceSetApplicationsClocks": set_applications,
    "nvmlDeviceResetApplicationsClocks": reset_applications,
    "nvmlDeviceGetAPIRestriction": get_restriction,
    "nvmlDeviceSetAPIRestriction": restrict,
    "nvmlDeviceGetSupportedPerformanceStates": get_states,
    "nvmlDeviceGetMinMaxClockOfPState": get_range,
    "nvmlDeviceGetPerformanceModes": get_modes,
    "nvmlDeviceGetCurrentClockFreqs": get_current,
    "nvmlDeviceGetDynamicPstatesInfo": get_loads,
    "nvmlDeviceGetGpcClkVfOffset": get_offset,
    "nvmlDeviceGetMemClkVfOffset": get_offset,
    "nvmlDeviceGetGpcClkMinMaxVfOffset": get_offset_range,
    "nvmlDeviceGetMemClkMinMaxVfOffset": get_offset_range,
    "nvmlDeviceSetGpcClkVfOffset": set_offset,
    "nvmlDeviceSetMemClkVfOffset": set_offset,
    "nvmlDeviceGetClockOffsets": get_offsets,
    "nvmlDeviceSetClockOffsets": set_offsets,
    "nvmlDeviceGetClkMonStatus": get_monitor,
}
