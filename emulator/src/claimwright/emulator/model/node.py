"""The one mutable owner of a node's state; every change goes through it and every face hears of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model import operations
from claimwright.emulator.model.state import GpuProcess, GpuState, NodeState, ProcessKind, Utilization

Subscriber = Callable[[NodeState], None]
Change = Callable[[GpuState], GpuState]


class NodeModel:
    """Holds one NodeState and changes it by operations.

    Thread-safe with one lock. Subscribers run under that lock, in the order they came and in the order of
    changes, before the operation returns: once a call returns, every face shows its effect. A subscriber must
    not block.
    """

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._lock = threading.RLock()
        self._subscribers: list[Subscriber] = []

    def snapshot(self) -> NodeState:
        """Return the present state."""
        return self._state

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` now and after each change; the returned function ends that (idempotent)."""
        with self._lock:
            subscriber(self._state)
            self._subscribers.append(subscriber)
        return lambda: self._unsubscribe(subscriber)

    def change(self, gpu: int, change: Change) -> GpuState:
        """Apply a pure operation to the GPU of this index and return it; OperationRefused changes nothing."""
        with self._lock:
            gpus = self._state.gpus
            if not 0 <= gpu < len(gpus):
                raise OperationRefused(Refusal.NOT_FOUND, f"no GPU {gpu}; this node has 0..{len(gpus) - 1}")
            changed = change(gpus[gpu])
            if changed != gpus[gpu]:
                self._publish(replace(self._state, gpus=(*gpus[:gpu], changed, *gpus[gpu + 1 :])))
            return changed

    def set_persistence_mode(self, gpu: int, *, enabled: bool) -> GpuState:
        """See operations.set_persistence_mode."""
        return self.change(gpu, lambda state: operations.set_persistence_mode(state, enabled=enabled))

    def set_compute_mode(self, gpu: int, mode: int) -> GpuState:
        """See operations.set_compute_mode."""
        return self.change(gpu, lambda state: operations.set_compute_mode(state, mode))

    def set_time_slice(self, gpu: int, time_slice: int) -> GpuState:
        """See operations.set_time_slice."""
        return self.change(gpu, lambda state: operations.set_time_slice(state, time_slice))

    def set_power_limit(self, gpu: int, milliwatts: int) -> GpuState:
        """See operations.set_power_limit."""
        return self.change(gpu, lambda state: operations.set_power_limit(state, milliwatts))

    def lock_clocks(self, gpu: int, lowest: int, highest: int) -> GpuState:
        """See operations.lock_clocks."""
        return self.change(gpu, lambda state: operations.lock_clocks(state, lowest, highest))

    def unlock_clocks(self, gpu: int) -> GpuState:
        """See operations.unlock_clocks."""
        return self.change(gpu, operations.unlock_clocks)

    def start_process(
        self, gpu: int, pid: int, name: str, memory_bytes: int, *, kind: ProcessKind = ProcessKind.COMPUTE
    ) -> GpuState:
        """See operations.start_process."""
        process = GpuProcess(pid, name, memory_bytes, kind)
        return self.change(gpu, lambda state: operations.start_process(state, process))

    def stop_process(self, gpu: int, pid: int) -> GpuState:
        """See operations.stop_process."""
        return self.change(gpu, lambda state: operations.stop_process(state, pid))

    def set_utilization(self, gpu: int, utilization: Utilization) -> GpuState:
        """See operations.set_utilization."""
        return self.change(gpu, lambda state: operations.set_utilization(state, utilization))

    def set_temperature(self, gpu: int, celsius: int, memory_celsius: int | None = None) -> GpuState:
        """See operations.set_temperature."""
        return self.change(gpu, lambda state: operations.set_temperature(state, celsius, memory_celsius))

    def count_ecc_errors(self, gpu: int, *, corrected: int = 0, uncorrected: int = 0) -> GpuState:
        """See operations.count_ecc_errors."""
        return self.change(
            gpu,
            lambda state: operations.count_ecc_errors(state, corrected=corrected, uncorrected=uncorrected),
        )

    def set_ecc_mode(self, gpu: int, *, enabled: bool) -> GpuState:
        """See operations.set_ecc_mode."""
        return self.change(gpu, lambda state: operations.set_ecc_mode(state, enabled=enabled))

    def clear_ecc_errors(self, gpu: int, *, aggregate: bool) -> GpuState:
        """See operations.clear_ecc_errors."""
        return self.change(gpu, lambda state: operations.clear_ecc_errors(state, aggregate=aggregate))

    def set_nvlink(self, gpu: int, link: int, *, active: bool) -> GpuState:
        """See operations.set_nvlink."""
        return self.change(gpu, lambda state: operations.set_nvlink(state, link, active=active))

    def lose(self, gpu: int) -> GpuState:
        """See operations.lose."""
        return self.change(gpu, operations.lose)

    def recover(self, gpu: int) -> GpuState:
        """See operations.recover."""
        return self.change(gpu, operations.recover)

    def _publish(self, state: NodeState) -> None:
        """Store a state and tell every subscriber; one that fails does not keep the others from hearing."""
        self._state = replace(state, revision=self._state.revision + 1)
        failures: list[Exception] = []
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(self._state)
            except Exception as error:  # noqa: BLE001 - re-raised below, together
                failures.append(error)
        if failures:
            raise ExceptionGroup(
                f"{len(failures)} faces of node {state.name!r} could not follow a change", failures
            )

    def _unsubscribe(self, subscriber: Subscriber) -> None:
        with self._lock:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)
