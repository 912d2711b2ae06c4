"""Events through NVML: one event set for all GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import pynvml

from claimwright.driver.adapters.nvml.session import NvmlSession, nvml_unusable
from claimwright.driver.errors import WatchEnded
from claimwright.driver.ports import GpuEvent, Watch

_XID: Final = pynvml.nvmlEventTypeXidCriticalError
# Everything that may change the state of repair; clock and performance events come thousands a minute under load.
_WANTED: Final = (
    _XID
    | pynvml.nvmlEventTypeDoubleBitEccError
    | pynvml.nvmlEventTypeSingleBitEccErrorStorm
    | pynvml.nvmlEventTypeDramRetirementEvent
    | pynvml.nvmlEventTypeDramRetirementFailure
    | pynvml.nvmlEventTypeNonFatalPoisonError
    | pynvml.nvmlEventTypeFatalPoisonError
    | pynvml.nvmlEventTypeGpuUnavailableError
    | pynvml.nvmlEventTypeGpuRecoveryAction
)
_NO_INSTANCE: Final = 0xFFFFFFFF
_SET_IS_DEAD: Final = "the watch for events of GPUs ended: {}"


class NvmlEvents:
    """The port `GpuEvents`; NVML stays initialised while a watch is open."""

    def __init__(self, session: NvmlSession) -> None:
        self._session = session

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """Watch all GPUs that answer now."""
        with self._session.watch():
            try:
                events = pynvml.nvmlEventSetCreate()
                count = int(pynvml.nvmlDeviceGetCount())
            except pynvml.NVMLError as error:
                raise nvml_unusable(f"NVML cannot report events: {error}", error) from error
            try:
                yield _EventSet(
                    self._session,
                    events,
                    dict(filter(None, (_register(events, index) for index in range(count)))),
                )
            finally:
                with suppress(pynvml.NVMLError):
                    pynvml.nvmlEventSetFree(events)


class _EventSet:
    def __init__(
        self,
        session: NvmlSession,
        events: Any,  # noqa: ANN401  an opaque C pointer
        outcomes: Mapping[str, str],
    ) -> None:
        self._session = session
        self._events = events
        self.unmonitored: Mapping[str, str] = {uuid: reason for uuid, reason in outcomes.items() if reason}

    def wait(self, timeout_seconds: float) -> GpuEvent | None:
        if self._session.gives_way:
            raise WatchEnded(_SET_IS_DEAD.format("a GPU is about to change its driver"))
        try:
            data = pynvml.nvmlEventSetWait_v2(self._events, int(timeout_seconds * 1000))
            uuid = pynvml.nvmlDeviceGetUUID(data.device)
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_TIMEOUT:
                return None
            raise WatchEnded(_SET_IS_DEAD.format(error)) from error
        instance = int(data.gpuInstanceId)
        return GpuEvent(
            gpu_uuid=uuid.decode() if isinstance(uuid, bytes) else uuid,
            xid=int(data.eventData) if data.eventType == _XID else None,
            gpu_instance=None if instance == _NO_INSTANCE else instance,
        )


def _register(events: Any, index: int) -> tuple[str, str] | None:  # noqa: ANN401
    """Register one GPU: its uuid, and why it is not watched; None for a GPU that is lost already."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid = pynvml.nvmlDeviceGetUUID(handle)
    except pynvml.NVMLError:
        return None
    name = uuid.decode() if isinstance(uuid, bytes) else uuid
    try:
        supported = int(pynvml.nvmlDeviceGetSupportedEventTypes(handle))
        if not supported & _XID:
            return name, "it reports no XIDs"
        pynvml.nvmlDeviceRegisterEvents(handle, _WANTED & supported, events)
    except pynvml.NVMLError as error:
        return name, str(error)
    return name, ""
