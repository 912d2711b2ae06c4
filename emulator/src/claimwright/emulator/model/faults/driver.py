"""Faults of the driver and of what stands beside it: reload, half an update, daemon, infoROM."""

from __future__ import annotations

from dataclasses import replace

from claimwright.emulator.model.change import Change, with_gpu
from claimwright.emulator.model.faults.fault import (
    BY_REBOOT,
    BY_RELOAD,
    BY_REPAIR,
    Cure,
    Fault,
    GpuFault,
    health_of,
    with_health,
)
from claimwright.emulator.model.readings import settled
from claimwright.emulator.model.resets import after_reset
from claimwright.emulator.model.state import DriverCondition, NodeState


class DriverReload(Fault):
    """The driver is unloaded by force, and loaded again at the end of the fault."""

    name = "driver-reload"
    summary = "the kernel driver is unloaded under its clients; clearing the fault loads it again"
    faces = (
        "NVML DRIVER_NOT_LOADED from init, GPU_IS_LOST for who had it open, event sets end; processes die; "
        "minors are kept; back with volatile counts at 0"
    )
    cured_by = BY_REBOOT
    ends_with = Cure.DRIVER_RELOAD

    def hold(self, state: NodeState) -> NodeState:
        """Take every process with it."""
        for gpu in state.gpus:
            state = with_gpu(state, settled(replace(gpu, processes=())))
        return replace(state, driver_condition=DriverCondition.UNLOADED)

    def release(self, state: NodeState) -> NodeState:
        """Load it."""
        for gpu in state.gpus:
            state = state if gpu.lost else with_gpu(state, after_reset(gpu))
        return replace(state, driver_condition=DriverCondition.LOADED)


class DriverMismatch(Fault):
    """The library was updated and the kernel module was not."""

    name = "driver-mismatch"
    summary = "the library and the kernel driver are of different versions; a driver reload joins them"
    faces = "NVML LIB_RM_VERSION_MISMATCH from init in new processes, running ones go on; nvidia-smi"
    cured_by = BY_RELOAD

    def hold(self, state: NodeState) -> NodeState:
        """Let them differ."""
        return replace(state, driver_condition=DriverCondition.MISMATCHED)

    def release(self, state: NodeState) -> NodeState:
        """Let them agree."""
        return replace(state, driver_condition=DriverCondition.LOADED)


class PersistenceDaemonGone(Fault):
    """Nobody keeps the GPUs initialised."""

    name = "persistence-daemon-gone"
    summary = "nvidia-persistenced is gone: persistence mode is off on every GPU until it is started again"
    faces = "NVML persistence mode, nvidia-smi"
    cured_by = BY_REBOOT

    def strike(self, state: NodeState) -> Change[None]:
        """Let every GPU go."""
        return Change(_all_persistent(state, enabled=False), None)

    def release(self, state: NodeState) -> NodeState:
        """Start it: it takes every GPU, as it does by default."""
        return _all_persistent(state, enabled=True)


class InforomCorrupt(GpuFault):
    """The board's own store of facts does not pass its checksum."""

    name = "inforom-corrupt"
    summary = "the infoROM is corrupted; only another board helps"
    faces = "nvmlDeviceValidateInforom and the infoROM getters: CORRUPTED_INFOROM; nvidia-smi"
    cured_by = BY_REPAIR

    def strike(self, state: NodeState) -> Change[None]:
        """Refuse it for a GPU that does not exist."""
        health_of(state, self.gpu)
        return Change(state, None)

    def hold(self, state: NodeState) -> NodeState:
        """Spoil it."""
        return with_health(state, self.gpu, inforom_valid=False)

    def release(self, state: NodeState) -> NodeState:
        """Put a good one in."""
        return with_health(state, self.gpu, inforom_valid=True)


def _all_persistent(state: NodeState, *, enabled: bool) -> NodeState:
    for gpu in state.gpus:
        state = with_gpu(state, replace(gpu, persistence_mode=enabled))
    return state
