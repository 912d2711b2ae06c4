"""Workload power profiles and power smoothing: Blackwell's ways to shape power."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ctypes import Array, c_uint32

from claimwright.emulator.model import GpuState
from claimwright.emulator.model.board import Architecture
from claimwright.emulator.model.operations import settings
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.layout import Result

# nvmlPowerProfileType_t: performance, efficiency, compute, memory-bound, network, balanced, inference and training.
_PROFILES = frozenset(range(8))
_CONFLICTS = {0: {1}, 1: {0}}  # at most performance and at most efficiency exclude each other
_CLEAR, _SET, _OVERWRITE = range(3)  # nvmlPowerProfileOperation_t
_PRESETS, _PARAMETERS = 5, 10  # field 259; NVML_POWER_SMOOTHING_PROFILE_PARAM_*


def get_profiles(call: Call, device: Handle, info: r.nvmlWorkloadPowerProfileProfilesInfo_v1_t) -> None:
    """List the profiles with their priorities and conflicts."""
    _blackwell(call, device)
    _fill(info.perfProfilesMask.mask, _PROFILES)
    word = r.VERSION_WORDS[r.nvmlWorkloadPowerProfileInfo_v1_t]
    for profile in _PROFILES:
        each = info.perfProfile[profile]
        each.version, each.profileId, each.priority = word, profile, profile
        _fill(each.conflictingMask.mask, _CONFLICTS.get(profile, ()))


def get_current(call: Call, device: Handle, info: r.nvmlWorkloadPowerProfileCurrentProfiles_v1_t) -> None:
    """Tell what exists, what is asked for, and what of it is in force: the first of each conflict."""
    gpu = _blackwell(call, device)
    asked = gpu.settings.workload_profiles
    _fill(info.perfProfilesMask.mask, _PROFILES)
    _fill(info.requestedProfilesMask.mask, asked)
    _fill(
        info.enforcedProfilesMask.mask,
        [p for p in asked if not _CONFLICTS.get(p, set()) & {q for q in asked if q < p}],
    )


def request(call: Call, device: Handle, asked: r.nvmlWorkloadPowerProfileRequestedProfiles_v1_t) -> None:
    """Add profiles to those asked for."""
    _change(call, device, asked.requestedProfilesMask.mask, lambda now, more: now | more)


def clear(call: Call, device: Handle, asked: r.nvmlWorkloadPowerProfileRequestedProfiles_v1_t) -> None:
    """Take profiles back."""
    _change(call, device, asked.requestedProfilesMask.mask, lambda now, less: now - less)


def update(call: Call, device: Handle, change: r.nvmlWorkloadPowerProfileUpdateProfiles_v1_t) -> None:
    """Add, take back, or replace."""
    ways: dict[int, Callable[[set[int], set[int]], set[int]]] = {
        _CLEAR: lambda now, given: now - given,
        _SET: lambda now, given: now | given,
        _OVERWRITE: lambda _now, given: given,
    }
    if change.operation not in ways:
        raise Refused(Result.INVALID_ARGUMENT)
    _change(call, device, change.updateProfilesMask.mask, ways[change.operation])


def activate_preset(call: Call, device: Handle, profile: r.nvmlPowerSmoothingProfile_v1_t) -> None:
    """Put a preset in force (nvmlDevicePowerSmoothingActivatePresetProfile)."""
    call.need_admin()
    call.perform(settings.set_power_smoothing, call.whole_gpu(device).index, preset=profile.profileId)


def update_preset(call: Call, device: Handle, profile: r.nvmlPowerSmoothingProfile_v1_t) -> None:
    """Change a parameter of a preset (nvmlDevicePowerSmoothingUpdatePresetProfileParam)."""
    gpu = call.whole_gpu(device)
    if not gpu.board.power.smoothing:
        raise Refused(Result.NOT_SUPPORTED)
    if profile.paramId >= _PARAMETERS or not profile.value >= 0:
        raise Refused(Result.INVALID_ARGUMENT)
    call.need_admin()
    call.perform(
        settings.set_power_smoothing,
        gpu.index,
        preset=profile.profileId,
        parameter=profile.paramId,
        value=profile.value,
    )


def set_smoothing(call: Call, device: Handle, state: r.nvmlPowerSmoothingState_v1_t) -> None:
    """Turn smoothing on or off (nvmlDevicePowerSmoothingSetState)."""
    if state.state > 1:
        raise Refused(Result.INVALID_ARGUMENT)
    call.need_admin()
    call.perform(settings.set_power_smoothing, call.whole_gpu(device).index, enabled=bool(state.state))


def _blackwell(call: Call, device: Handle) -> GpuState:
    gpu = call.whole_gpu(device)
    if gpu.board.architecture < Architecture.BLACKWELL:
        raise Refused(Result.NOT_SUPPORTED)
    return gpu


def _change(
    call: Call, device: Handle, mask: Array[c_uint32], combine: Callable[[set[int], set[int]], set[int]]
) -> None:
    gpu = _blackwell(call, device)
    given = {bit for bit in range(32 * len(mask)) if mask[bit // 32] >> bit % 32 & 1}
    if given - _PROFILES:
        raise Refused(Result.INVALID_ARGUMENT)
    call.need_admin()
    wanted = combine(set(gpu.settings.workload_profiles), given)
    call.perform(settings.set_workload_profiles, gpu.index, sorted(wanted))


def _fill(mask: Array[c_uint32], bits: Iterable[int]) -> None:
    whole = sum(1 << bit for bit in bits)
    for word in range(len(mask)):
        mask[word] = whole >> 32 * word & 0xFFFFFFFF


ANSWERS = {
    "nvmlDeviceWorkloadPowerProfileGetProfilesInfo": get_profiles,
    "nvmlDeviceWorkloadPowerProfileGetCurrentProfiles": get_current,
    "nvmlDeviceWorkloadPowerProfileSetRequestedProfiles": request,
    "nvmlDeviceWorkloadPowerProfileClearRequestedProfiles": clear,
    "nvmlDeviceWorkloadPowerProfileUpdateProfiles_v1": update,
    "nvmlDevicePowerSmoothingActivatePresetProfile": activate_preset,
    "nvmlDevicePowerSmoothingUpdatePresetProfileParam": update_preset,
    "nvmlDevicePowerSmoothingSetState": set_smoothing,
}
