"""What NVML says about a GPU's state of repair; what this GPU or library does not know stays unknown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import pynvml

from claimwright.driver.ports import ConditionReading

Value = TypeVar("Value")
_LOST: Final = pynvml.NVML_ERROR_GPU_IS_LOST
_NVLINKS: Final = range(getattr(pynvml, "NVML_NVLINK_MAX_LINKS", 18))


def condition_of(handle: Any) -> ConditionReading:  # noqa: ANN401  an opaque C pointer
    """Read it; NVMLError only when the GPU is lost on the way."""
    pending, failed = _repair(handle)
    return ConditionReading(
        recovery_action=_known(lambda: _field(handle, pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION), None),
        repair_pending=pending,
        repair_failed=failed,
        nvlinks_active=tuple(_active_links(handle)),
        pcie_width=_known(lambda: int(pynvml.nvmlDeviceGetCurrPcieLinkWidth(handle)), None),
        clock_reasons=_known(lambda: int(pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle)), 0),
        inforom_corrupt=_inforom_corrupt(handle),
    )


def _repair(handle: Any) -> tuple[bool, bool]:  # noqa: ANN401
    """Return whether a repair of the memory is pending, and whether one failed: by rows, or by pages."""
    rows = _known(lambda: pynvml.nvmlDeviceGetRemappedRows(handle), None)
    if rows is not None:
        _, _, pending, failed = rows
        return bool(pending), bool(failed)
    return _known(lambda: bool(pynvml.nvmlDeviceGetRetiredPagesPendingStatus(handle)), False), False


def _field(handle: Any, field: int) -> int | None:  # noqa: ANN401
    (value,) = pynvml.nvmlDeviceGetFieldValues(handle, [field])
    return int(value.value.uiVal) if value.nvmlReturn == pynvml.NVML_SUCCESS else None


def _active_links(handle: Any) -> list[int]:  # noqa: ANN401
    active = []
    for link in _NVLINKS:
        state = _known(lambda: pynvml.nvmlDeviceGetNvLinkState(handle, link), None)  # noqa: B023  called at once
        if state is None:
            break  # links are numbered without holes: the first that the GPU does not have ends them
        if state == pynvml.NVML_FEATURE_ENABLED:
            active.append(link)
    return active


def _inforom_corrupt(handle: Any) -> bool:  # noqa: ANN401
    try:
        pynvml.nvmlDeviceGetInforomConfigurationChecksum(handle)
    except pynvml.NVMLError as error:
        return bool(error.value == pynvml.NVML_ERROR_CORRUPTED_INFOROM)
    return False


def _known(call: Callable[[], Value], otherwise: Value) -> Value:
    """Return what `call` says; a reading of the condition that fails is unknown, never a condition."""
    try:
        return call()
    except pynvml.NVMLError as error:
        if error.value == _LOST:
            raise
        return otherwise
