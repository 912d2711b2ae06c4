"""Faults of NVLink and of the switches behind it."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Annotated

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model.change import Change, gpu_at, with_gpu
from claimwright.emulator.model.faults.fault import BY_REBOOT, Fault, GpuFault, xid
from claimwright.emulator.model.faults.recovery import needing, needing_nothing
from claimwright.emulator.model.health import RecoveryAction
from claimwright.emulator.model.rules import Field
from claimwright.emulator.model.state import GpuState, NodeState, NvLink, NvLinkErrors

_XID = 74
Link = Annotated[int, Field(ge=0, le=35, description="number of the NVLink")]


class NvLinkDown(GpuFault):
    """A link that does not train."""

    name = "nvlink-down"
    summary = "an NVLink goes down, at both ends where the far one is a GPU (XID 74)"
    faces = "NVML link state and remote device, field 165, topology, XID 74; nvidia-smi topo; kernel log line"

    link: Link

    def strike(self, state: NodeState) -> Change[None]:
        """Report it at this end."""
        _link_of(state, self.gpu, self.link)
        return Change(state, None, (xid(gpu_at(state, self.gpu), _XID),))

    def hold(self, state: NodeState) -> NodeState:
        """Bring it down."""
        return _switched(state, self.gpu, self.link, active=False)

    def release(self, state: NodeState) -> NodeState:
        """Train it again."""
        return _switched(state, self.gpu, self.link, active=True)


class NvLinkFault(GpuFault):
    """Errors on a link that stays up."""

    name = "nvlink-errors"
    summary = "an NVLink counts errors and stays up"
    faces = (
        "NVML NvLink error counters and their fields (32 to 59, 96 to 119, 148 to 163), back to 0 by a reset"
    )

    link: Link
    replay: Annotated[int, Field(ge=0, description="replays to add")] = 0
    recovery: Annotated[int, Field(ge=0, description="recoveries to add")] = 0
    crc_flit: Annotated[int, Field(ge=0, description="CRC errors of flits to add")] = 0
    crc_data: Annotated[int, Field(ge=0, description="CRC errors of data to add")] = 0
    ecc_data: Annotated[int, Field(ge=0, description="ECC errors of data to add")] = 0

    @property
    def lasts(self) -> bool:
        """A count and nothing else."""
        return False

    def strike(self, state: NodeState) -> Change[None]:
        """Count them."""
        names = [each.name for each in fields(NvLinkErrors)]
        if not any(getattr(self, name) for name in names):
            raise OperationRefused(Refusal.INVALID_ARGUMENT, f"give at least one of {', '.join(names)}")
        link = _link_of(state, self.gpu, self.link)
        sums = {name: getattr(link.errors, name) + getattr(self, name) for name in names}
        gpu = _with_link(gpu_at(state, self.gpu), replace(link, errors=NvLinkErrors(**sums)))
        return Change(with_gpu(state, gpu), None)


class NvSwitchFatal(Fault):
    """A switch chip that is no more: every link to it is down."""

    name = "nvswitch-fatal"
    summary = (
        "an NVSwitch dies: every link to it goes down (XID 74 on each GPU), until the machine is rebooted"
    )
    faces = (
        "NVML link states and remote devices, XID 74 per GPU, field 230; nvidia-smi topo; kernel log lines"
    )
    cured_by = BY_REBOOT

    switch: Annotated[int, Field(ge=0, description="number of the NVSwitch")]

    def strike(self, state: NodeState) -> Change[None]:
        """Report it on every GPU that is wired to it."""
        if self.switch >= len(state.nvswitches):
            has = f"expected 0..{len(state.nvswitches) - 1}" if state.nvswitches else "this node has none"
            raise OperationRefused(Refusal.NOT_FOUND, f"no NVSwitch {self.switch}; {has}")
        hit = [gpu for gpu in state.gpus if self._links(state, gpu)]
        return Change(state, None, tuple(xid(gpu, _XID) for gpu in hit))

    def hold(self, state: NodeState) -> NodeState:
        """Bring its links down."""
        for gpu in state.gpus:
            if links := self._links(state, gpu):
                state = needing(state, gpu.index, RecoveryAction.SYSTEM_REBOOT)
                for link in links:
                    state = _switched(state, gpu.index, link, active=False)
        return state

    def release(self, state: NodeState) -> NodeState:
        """Train them again."""
        for gpu in state.gpus:
            if links := self._links(state, gpu):
                state = needing_nothing(state, gpu.index)
                for link in links:
                    state = _switched(state, gpu.index, link, active=True)
        return state

    def _links(self, state: NodeState, gpu: GpuState) -> tuple[int, ...]:
        address = state.nvswitches[self.switch].pci
        return tuple(link.index for link in gpu.nvlinks if link.remote == address)


def _link_of(state: NodeState, gpu: int, link: int) -> NvLink:
    links = gpu_at(state, gpu).nvlinks
    if link >= len(links):
        expected = f"expected 0..{len(links) - 1}" if links else "it has none"
        raise OperationRefused(Refusal.INVALID_ARGUMENT, f"GPU {gpu} has no NVLink {link}; {expected}")
    return links[link]


def _switched(state: NodeState, gpu: int, link: int, *, active: bool) -> NodeState:
    """Bring one link up or down, and its other end where that is a GPU of this node."""
    here = _link_of(state, gpu, link)
    state = with_gpu(
        state, _with_link(gpu_at(state, gpu), replace(here, active=active and here.remote is not None))
    )
    for far in state.gpus:
        if far.pci == here.remote and here.remote_link < len(far.nvlinks):
            there = far.nvlinks[here.remote_link]
            return with_gpu(state, _with_link(far, replace(there, active=active)))
    return state


def _with_link(gpu: GpuState, link: NvLink) -> GpuState:
    return replace(gpu, nvlinks=(*gpu.nvlinks[: link.index], link, *gpu.nvlinks[link.index + 1 :]))
