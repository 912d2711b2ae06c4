"""Fans and thermal sensors. Most data-centre boards are cooled by their chassis and have no fans of their own."""

from __future__ import annotations

from claimwright.emulator.model import GpuState
from claimwright.emulator.model.operations import settings
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.layout import Result

_LOWEST, _HIGHEST, _REST = 30, 100, 30  # percent
_RPM_AT_FULL = 6000
_TEMPERATURE, _MANUAL = 0, 1  # NVML_FAN_POLICY_*
_VARIABLE, _COOLS_GPU = 2, 2  # nvmlCoolerControl_t, nvmlCoolerTarget_t
_ALL_SENSORS, _SENSORS = 15, 3
_GPU_INTERNAL, _GPU_TARGET = 1, 1


def get_speed(call: Call, device: Handle) -> int:
    """Return the first fan's speed, percent (nvmlDeviceGetFanSpeed)."""
    return get_speed_of(call, device, 0)


def get_speed_of(call: Call, device: Handle, fan: int) -> int:
    """Return a fan's speed, percent (nvmlDeviceGetFanSpeed_v2)."""
    return _turning(_with_fan(call, device, fan), fan)


def get_rpm(call: Call, device: Handle, info: r.nvmlFanSpeedInfo_v1_t) -> None:
    """Tell a fan's speed in turns per minute (nvmlDeviceGetFanSpeedRPM)."""
    info.speed = _turning(_with_fan(call, device, info.fan), info.fan) * _RPM_AT_FULL // 100


def get_target(call: Call, device: Handle, fan: int) -> int:
    """Return the speed, percent, that a fan is to run at (nvmlDeviceGetTargetFanSpeed)."""
    return _percent(_with_fan(call, device, fan), fan)


def get_range(call: Call, device: Handle) -> tuple[int, int]:
    """Return the lowest and highest speed, percent (nvmlDeviceGetMinMaxFanSpeed)."""
    _with_fan(call, device, 0)
    return _LOWEST, _HIGHEST


def get_policy(call: Call, device: Handle, fan: int) -> int:
    """Return whether a fan follows the temperature or a fixed speed (nvmlDeviceGetFanControlPolicy_v2)."""
    gpu = _with_fan(call, device, fan)
    return _TEMPERATURE if _held(gpu, fan) is None else _MANUAL


def set_policy(call: Call, device: Handle, fan: int, policy: int) -> None:
    """Let a fan follow the temperature, or hold it where it is (nvmlDeviceSetFanControlPolicy)."""
    gpu = _with_fan(call, device, fan)
    if policy not in {_TEMPERATURE, _MANUAL}:
        raise Refused(Result.INVALID_ARGUMENT)
    _set(call, gpu, fan, _percent(gpu, fan) if policy == _MANUAL else None)


def set_speed(call: Call, device: Handle, fan: int, percent: int) -> None:
    """Hold a fan at a speed (nvmlDeviceSetFanSpeed_v2)."""
    gpu = _with_fan(call, device, fan)
    if not _LOWEST <= percent <= _HIGHEST:
        raise Refused(Result.INVALID_ARGUMENT)
    _set(call, gpu, fan, percent)


def set_default(call: Call, device: Handle, fan: int) -> None:
    """Let a fan follow the temperature again (nvmlDeviceSetDefaultFanSpeed_v2)."""
    _set(call, _with_fan(call, device, fan), fan, None)


def get_cooler(call: Call, device: Handle, info: r.nvmlCoolerInfo_v1_t) -> None:
    """Tell how a cooler is driven and what it cools (nvmlDeviceGetCoolerInfo)."""
    _with_fan(call, device, info.index)
    info.signalType, info.target = _VARIABLE, _COOLS_GPU


def get_sensors(call: Call, device: Handle, sensor: int, info: r.nvmlGpuThermalSettings_t) -> None:
    """Tell one sensor or all of them (nvmlDeviceGetThermalSettings): the GPU's own is the only one."""
    gpu = call.whole_gpu(device)
    if sensor not in {*range(_SENSORS), _ALL_SENSORS}:
        raise Refused(Result.INVALID_ARGUMENT)
    if sensor not in {0, _ALL_SENSORS}:
        raise Refused(Result.NOT_SUPPORTED)
    info.count = 1
    first = info.sensor[0]
    first.controller, first.target, first.currentTemp = _GPU_INTERNAL, _GPU_TARGET, gpu.temperature.gpu
    first.defaultMinTemp, first.defaultMaxTemp = 0, gpu.board.thermals.shutdown_at


def _with_fan(call: Call, device: Handle, fan: int) -> GpuState:
    gpu = call.whole_gpu(device)
    if not gpu.board.fans:
        raise Refused(Result.NOT_SUPPORTED)
    if fan >= gpu.board.fans:
        raise Refused(Result.INVALID_ARGUMENT)
    return gpu


def _held(gpu: GpuState, fan: int) -> int | None:
    return gpu.settings.fan_percent[fan] if fan < len(gpu.settings.fan_percent) else None


def _turning(gpu: GpuState, fan: int) -> int:
    """Return how fast a fan turns: fans fail from the first on."""
    return 0 if fan < gpu.health.failed_fans else _percent(gpu, fan)


def _percent(gpu: GpuState, fan: int) -> int:
    """Return what is held, or what the temperature asks for: full speed at the slowdown point."""
    held = _held(gpu, fan)
    if held is not None:
        return held
    rest, hot = gpu.board.thermals.idle, gpu.board.thermals.slowdown_at
    share = (gpu.temperature.gpu - rest) / max(1, hot - rest)
    return max(_REST, min(_HIGHEST, round(_REST + (_HIGHEST - _REST) * share)))


def _set(call: Call, gpu: GpuState, fan: int, percent: int | None) -> None:
    call.need_admin()
    call.perform(settings.set_fan_speed, gpu.index, fan, percent)


ANSWERS = {
    "nvmlDeviceGetFanSpeed": get_speed,
    "nvmlDeviceGetFanSpeed_v2": get_speed_of,
    "nvmlDeviceGetFanSpeedRPM": get_rpm,
    "nvmlDeviceGetTargetFanSpeed": get_target,
    "nvmlDeviceGetMinMaxFanSpeed": get_range,
    "nvmlDeviceGetFanControlPolicy_v2": get_policy,
    "nvmlDeviceSetFanControlPolicy": set_policy,
    "nvmlDeviceSetFanSpeed_v2": set_speed,
    "nvmlDeviceSetDefaultFanSpeed_v2": set_default,
    "nvmlDeviceGetCoolerInfo": get_cooler,
    "nvmlDeviceGetThermalSettings": get_sensors,
}
