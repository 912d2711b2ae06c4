"""Sample buffers of load, power and clocks, and how long limits held the clocks back."""

from __future__ import annotations

from collections.abc import Callable

from claimwright.emulator.model import GpuState
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.layout import Result

_UNSIGNED = 1  # NVML_VALUE_TYPE_UNSIGNED_INT

# nvmlSamplingType_t
_VALUES: dict[int, Callable[[GpuState], int]] = {
    0: lambda gpu: gpu.power.usage_milliwatts,
    1: lambda gpu: gpu.utilization.gpu,
    2: lambda gpu: gpu.utilization.memory,
    3: lambda gpu: gpu.utilization.encoder,
    4: lambda gpu: gpu.utilization.decoder,
    5: lambda gpu: gpu.clocks.sm,
    6: lambda gpu: gpu.clocks.memory,
    8: lambda gpu: gpu.utilization.jpeg,
    9: lambda gpu: gpu.utilization.optical_flow,
}
_MODULE_POWER, _KINDS = 7, 10
_POLICIES = {0, 1, 2, 3, 4, 5, 10, 11}  # nvmlPerfPolicyType_t
_POWER, _THERMAL, _TOTAL = 0, 1, 10


def get_samples(call: Call, device: Handle, kind: int, since: int) -> tuple[int, list[r.nvmlSample_t]]:
    """Return the samples after a time (us since the epoch), oldest first (nvmlDeviceGetSamples).

    Asked for the count alone (NULL), the buffer's size is answered, as nvml.h says.
    """
    gpu = call.whole_gpu(device)
    if kind >= _KINDS:
        raise Refused(Result.INVALID_ARGUMENT)
    if kind == _MODULE_POWER:
        if gpu.board.power.module is None:
            raise Refused(Result.NOT_SUPPORTED)
        return _UNSIGNED, _made(call, gpu, since, lambda each: each.power.usage_milliwatts)
    return _UNSIGNED, _made(call, gpu, since, _VALUES[kind])


def get_energy(call: Call, device: Handle) -> int:
    """Return the energy, mJ, since the driver was loaded (nvmlDeviceGetTotalEnergyConsumption)."""
    return call.history.totals(call.whole_gpu(device).index).energy_millijoules


def get_violation(call: Call, device: Handle, policy: int, violation: r.nvmlViolationTime_t) -> None:
    """Tell how long a policy held the clocks below what was asked (nvmlDeviceGetViolationStatus), ns."""
    gpu = call.whole_gpu(device)
    if policy not in _POLICIES:
        raise Refused(Result.INVALID_ARGUMENT)
    now = call.history.clock()
    past = call.history.of(gpu.index)
    violation.referenceTime = now
    totals = past.until(now)
    limited = {_POWER: totals.power_limited, _THERMAL: totals.heat_limited}
    limited[_TOTAL] = max(limited.values())
    violation.violationTime = 1000 * limited.get(policy, 0)


def _made(call: Call, gpu: GpuState, since: int, value: Callable[[GpuState], int]) -> list[r.nvmlSample_t]:
    past, now = call.history.of(gpu.index), call.history.clock()
    found = [_sample(at, number) for at, number in past.samples(now, since, value)]
    if not found:
        raise Refused(Result.NOT_FOUND)
    room = call.rooms["samples"]
    return found if room is None or room == 0 else found[-room:]


def _sample(at: int, number: int) -> r.nvmlSample_t:
    made = r.nvmlSample_t(timeStamp=at)
    made.sampleValue.uiVal = number
    return made


ANSWERS = {
    "nvmlDeviceGetSamples": get_samples,
    "nvmlDeviceGetTotalEnergyConsumption": get_energy,
    "nvmlDeviceGetViolationStatus": get_violation,
}
