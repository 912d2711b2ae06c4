"""Who uses a GPU, by NVML."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import pynvml

from claimwright.driver.adapters.nvml.session import NvmlSession
from claimwright.driver.errors import StepFailed
from claimwright.driver.ports import GpuClient

_ABSENT: Final = (pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_INVALID_ARGUMENT)
_UNKNOWN: Final = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)


class NvmlUsage:
    """The port `Usage` over NVML."""

    def __init__(self, session: NvmlSession) -> None:
        self._session = session

    def clients(self, address: str) -> tuple[GpuClient, ...]:
        """Return the processes that NVML knows on the GPU; none when it does not see the GPU."""
        found: dict[int, GpuClient] = {}
        with self._gpu(address, "list processes") as handle:
            for ask in (
                pynvml.nvmlDeviceGetComputeRunningProcesses,
                pynvml.nvmlDeviceGetGraphicsRunningProcesses,
            ):
                for process in _or_none(lambda ask=ask: ask(handle)) or () if handle else ():  # type: ignore[misc]
                    found[process.pid] = GpuClient(int(process.pid), _name_of(process.pid))
        return tuple(found[pid] for pid in sorted(found))

    def persistence(self, address: str) -> bool | None:
        """Tell whether persistence mode is on; None when NVML does not see the GPU, or it has no such mode."""
        with self._gpu(address, "read persistence mode") as handle:
            mode = _or_none(lambda: pynvml.nvmlDeviceGetPersistenceMode(handle)) if handle else None
        return None if mode is None else bool(mode)

    def aside(self) -> AbstractContextManager[None]:
        """Keep this process itself from holding GPUs within the context."""
        return self._session.aside()

    def set_persistence(self, address: str, *, enabled: bool) -> None:
        """Switch persistence mode."""
        what = f"switch persistence mode {'on' if enabled else 'off'}"
        with self._gpu(address, what) as handle:
            if handle is None:
                raise StepFailed(f"GPU {address}: NVML could not {what}: it does not see the GPU")
            pynvml.nvmlDeviceSetPersistenceMode(handle, int(enabled))

    @contextmanager
    def _gpu(self, address: str, what: str) -> Iterator[Any]:
        with self._session.open():
            try:
                yield _handle(address)
            except pynvml.NVMLError as error:
                raise StepFailed(f"GPU {address}: NVML could not {what}: {error}") from error


def _handle(address: str) -> Any:  # noqa: ANN401  an opaque C pointer
    try:
        return pynvml.nvmlDeviceGetHandleByPciBusId(address.encode())
    except pynvml.NVMLError as error:
        if error.value in _ABSENT:
            return None
        raise


def _name_of(pid: int) -> str:
    try:
        name = pynvml.nvmlSystemGetProcessName(pid)
    except pynvml.NVMLError:
        return ""
    return (name.decode(errors="replace") if isinstance(name, bytes) else str(name)).rpartition("/")[2]


def _or_none(call: Callable[[], Any]) -> Any:  # noqa: ANN401
    try:
        return call()
    except pynvml.NVMLError as error:
        if error.value in _UNKNOWN:
            return None
        raise
