"""NVLink counters by number: field values set back to zero, and the port counters of NVLink 5."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from claimwright.emulator.model import GpuState, NvLink, OperationRefused
from claimwright.emulator.model.board import Architecture
from claimwright.emulator.model.operations import settings
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.layout import Result

_UNSIGNED_64 = 3  # NVML_VALUE_TYPE_UNSIGNED_LONG_LONG

# NVML_FI_DEV_NVLINK_*_ERROR_COUNT: one field for all links, one per link (the link is its scope), and the runs of the
# first generations: the first field, its link, and how many follow.
_OF_ALL = {38: "crc_flit", 45: "crc_data", 52: "replay", 59: "recovery", 160: "ecc_data"}
_BY_SCOPE = {161: ("replay",), 162: ("recovery",), 163: ("crc_flit", "crc_data")}
_RUNS = (
    (32, 0, 6, "crc_flit"), (39, 0, 6, "crc_data"), (46, 0, 6, "replay"), (53, 0, 6, "recovery"),
    (96, 6, 6, "crc_flit"), (102, 6, 6, "crc_data"), (108, 6, 6, "replay"), (114, 6, 6, "recovery"),
    (148, 0, 12, "ecc_data"),
)  # fmt: skip

# nvmlPRMCounterId_t; times and bit errors are not modelled, and a healthy link has none.
_PORT_COUNTERS: Mapping[int, Callable[[NvLink], int]] = {
    1: lambda link: int(not link.active),
    2: lambda link: link.errors.recovery,
    101: lambda link: link.errors.recovery,
    302: lambda link: link.errors.crc_flit + link.errors.crc_data,
    303: lambda link: link.errors.ecc_data,
    305: lambda link: link.errors.replay,
    306: lambda link: link.errors.replay,
    **{number: lambda _link: 0 for number in (*range(102, 112), 201, 301, 304, 307, 1001)},
}


def clear_fields(call: Call, device: Handle, values: list[r.nvmlFieldValue_t]) -> None:
    """Set counters to zero, each with its own return code (nvmlDeviceClearFieldValues)."""
    gpu = call.whole_gpu(device)
    if not values:
        raise Refused(Result.INVALID_ARGUMENT)
    call.need_admin()
    for value in values:
        value.nvmlReturn = int(_clear(call, gpu, value.fieldId, value.scopeId))


def read_port_counters(
    call: Call, device: Handle, wanted: r.nvmlPRMCounterList_v1_t, counters: list[r.nvmlPRMCounter_v1_t]
) -> None:
    """Read counters of NVLink ports, numbered from 1 (nvmlDeviceReadPRMCounters_v1; Blackwell and later)."""
    gpu = call.whole_gpu(device)
    if not gpu.nvlinks or gpu.board.architecture < Architecture.BLACKWELL:
        raise Refused(Result.NOT_SUPPORTED)
    if not wanted.numCounters or len(counters) != wanted.numCounters:
        raise Refused(Result.INVALID_ARGUMENT)
    call.need_admin()
    for counter in counters:
        _read(gpu, counter)


def _clear(call: Call, gpu: GpuState, field: int, scope: int) -> Result:
    if not gpu.nvlinks:
        return Result.NOT_SUPPORTED
    cleared = tuple(_counters(gpu, field, scope))
    try:
        for link, counter in cleared:
            call.perform(settings.clear_link_errors, gpu.index, link, counter)
    except OperationRefused as refused:
        return Result[refused.reason.name]
    return Result.SUCCESS if cleared else Result.NOT_SUPPORTED


def _counters(gpu: GpuState, field: int, scope: int) -> Iterator[tuple[int, str]]:
    """Yield link and counter of each counter that a field adds up."""
    if field in _OF_ALL:
        yield from ((link, _OF_ALL[field]) for link in range(len(gpu.nvlinks)))
    yield from ((scope, counter) for counter in _BY_SCOPE.get(field, ()))
    for first, link, length, counter in _RUNS:
        if first <= field < first + length:
            yield link + field - first, counter


def _read(gpu: GpuState, counter: r.nvmlPRMCounter_v1_t) -> None:
    port, reads = counter.inData.localPort, _PORT_COUNTERS.get(counter.counterId)
    if reads is None or not 1 <= port <= len(gpu.nvlinks):
        counter.counterValue.status = int(Result.INVALID_ARGUMENT)
        return
    counter.counterValue.status = int(Result.SUCCESS)
    counter.counterValue.outputType = _UNSIGNED_64
    counter.counterValue.outputValue.ullVal = reads(gpu.nvlinks[port - 1])


ANSWERS = {
    "nvmlDeviceClearFieldValues": clear_fields,
    "nvmlDeviceReadPRMCounters_v1": read_port_counters,
}
