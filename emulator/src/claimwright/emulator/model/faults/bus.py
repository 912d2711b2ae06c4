"""Faults between the GPU and the machine: gone from the bus, a slow link, replays."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model.bus import presence
from claimwright.emulator.model.change import Change, gpu_at, with_gpu
from claimwright.emulator.model.faults.fault import BY_REBOOT, Cure, GpuFault, health_of, with_health, xid
from claimwright.emulator.model.readings import settled
from claimwright.emulator.model.resets import after_reset, fallen_off
from claimwright.emulator.model.rules import Field
from claimwright.emulator.model.state import NodeState

FALLEN_OFF_XID = 79


class GpuLost(GpuFault):
    """The GPU does not answer on the bus any more."""

    name = "gpu-lost"
    summary = "the GPU falls off the bus (XID 79); its processes die"
    faces = "NVML GPU_IS_LOST on every call and from EventSetWait, XID 79 event; nvidia-smi; kernel log line"

    def strike(self, state: NodeState) -> Change[None]:
        """Report it, once: a GPU that is gone cannot fall again."""
        gpu = gpu_at(state, self.gpu)
        if gpu.lost:
            raise OperationRefused(Refusal.GPU_IS_LOST, f"GPU {self.gpu} has fallen off the bus already")
        return Change(state, None, (xid(gpu, FALLEN_OFF_XID),))

    def hold(self, state: NodeState) -> NodeState:
        """Take the GPU away."""
        return fell_off(state, self.gpu)

    def release(self, state: NodeState) -> NodeState:
        """Bring it back, as after a reset."""
        return plugged_again(state, self.gpu)


class PcieDegraded(GpuFault):
    """The PCIe link came up slower or narrower than it could."""

    name = "pcie-degraded"
    summary = "the PCIe link runs at a lower generation or width"
    faces = "NVML current link generation, width and speed; sysfs current_link_speed and current_link_width"

    generation: Annotated[int | None, Field(ge=1, le=7, description="PCIe generation")] = None
    width: Annotated[int | None, Field(description="lanes: 1, 2, 4, 8 or 16")] = None

    def strike(self, state: NodeState) -> Change[None]:
        """Refuse what is no degradation of this board's link."""
        link = gpu_at(state, self.gpu)
        if self.generation is None and self.width is None:
            raise OperationRefused(Refusal.INVALID_ARGUMENT, "give generation=, width= or both")
        if self.generation is not None and self.generation >= link.link_generation:
            raise _no_degradation("generation", self.generation, link.link_generation)
        if self.width is not None and self.width not in (1, 2, 4, 8, 16):
            raise OperationRefused(Refusal.INVALID_ARGUMENT, f"width={self.width}; expected 1, 2, 4, 8 or 16")
        if self.width is not None and self.width >= link.link_width:
            raise _no_degradation("width", self.width, link.link_width)
        return Change(state, None)

    def hold(self, state: NodeState) -> NodeState:
        """Train the link lower; what is not given stays."""
        health = health_of(state, self.gpu)
        return with_health(
            state,
            self.gpu,
            pcie_generation=_lower(health.pcie_generation, self.generation),
            pcie_width=_lower(health.pcie_width, self.width),
        )

    def release(self, state: NodeState) -> NodeState:
        """Train it to the full again."""
        return with_health(state, self.gpu, pcie_generation=None, pcie_width=None)


class PcieReplays(GpuFault):
    """Packets on the PCIe link had to be sent again."""

    name = "pcie-replays"
    summary = "packets on the PCIe link are replayed"
    faces = "NVML PCIe replay counter (also field 94), back to 0 by a reset"

    count: Annotated[int, Field(ge=1, le=1 << 31, description="replays to add")] = 100

    @property
    def lasts(self) -> bool:
        """A count and nothing else."""
        return False

    def strike(self, state: NodeState) -> Change[None]:
        """Count them."""
        replays = health_of(state, self.gpu).pcie_replays + self.count
        return Change(with_health(state, self.gpu, pcie_replays=replays), None)


class UnbindBlocked(GpuFault):
    """A process holds the GPU's device file open, so that no driver can let go of it."""

    name = "unbind-blocked"
    summary = "an open device file keeps the GPU from being unbound or removed"
    faces = "sysfs unbind and remove wait for it, move to vfio-pci EBUSY, unbindLock stays 0; NVML unchanged"
    cured_by = BY_REBOOT

    pid: Annotated[int, Field(ge=1, description="the process that has it open")] = 999_979

    def strike(self, state: NodeState) -> Change[None]:
        """Refuse it where there is no device file."""
        if not gpu_at(state, self.gpu).nvml_visible:
            raise OperationRefused(
                Refusal.NOT_FOUND, f"GPU {self.gpu} is not on the NVIDIA driver: no file to open"
            )
        return Change(state, None)

    def hold(self, state: NodeState) -> NodeState:
        """Open the file."""
        return self._held(state, self._pids(state) | {self.pid})

    def release(self, state: NodeState) -> NodeState:
        """Close it; what waited for that is done."""
        return self._held(state, self._pids(state) - {self.pid})

    def _pids(self, state: NodeState) -> frozenset[int]:
        return state.bus.holders.get(f"gpu/{gpu_at(state, self.gpu).pci}", frozenset())

    def _held(self, state: NodeState, pids: frozenset[int]) -> NodeState:
        holders = {**state.bus.holders, f"gpu/{gpu_at(state, self.gpu).pci}": pids}
        return replace(
            state, bus=replace(state.bus, holders={each: held for each, held in holders.items() if held})
        )


class HotRemove(GpuFault):
    """The card is pulled while the machine runs, and plugged in again at the end of the fault."""

    name = "hot-remove"
    summary = "the card is pulled; clearing the fault plugs it in again and rescans the bus"
    faces = (
        "gone from PCI sysfs, NVML, /proc/driver/nvidia/gpus, /dev; its processes die; minors of others stay"
    )
    cured_by = BY_REBOOT
    ends_with = Cure.RESET

    def strike(self, state: NodeState) -> Change[None]:
        """Pull it."""
        gpu = gpu_at(state, self.gpu)
        if gpu.pci not in state.bus.functions:
            raise OperationRefused(Refusal.NOT_FOUND, f"GPU {self.gpu} ({gpu.pci}) is not on the bus already")
        gone = presence.pulled(state, gpu.pci)
        return Change(with_gpu(gone, settled(replace(gpu_at(gone, self.gpu), processes=()))), None)

    def release(self, state: NodeState) -> NodeState:
        """Plug it in: it comes up cold."""
        return presence.rescanned(with_gpu(state, after_reset(replace(gpu_at(state, self.gpu), lost=False))))


def fell_off(state: NodeState, gpu: int) -> NodeState:
    """Return the node with a GPU gone from the bus."""
    present = gpu_at(state, gpu)
    return state if present.lost else with_gpu(state, fallen_off(present))


def plugged_again(state: NodeState, gpu: int) -> NodeState:
    """Return the node with a lost GPU back."""
    present = gpu_at(state, gpu)
    return with_gpu(state, after_reset(replace(present, lost=False))) if present.lost else state


def _lower(present: int | None, wanted: int | None) -> int | None:
    given = [each for each in (present, wanted) if each is not None]
    return min(given, default=None)


def _no_degradation(what: str, given: int, most: int) -> OperationRefused:
    return OperationRefused(
        Refusal.INVALID_ARGUMENT, f"{what}={given} is no degradation; expected less than the board's {most}"
    )
