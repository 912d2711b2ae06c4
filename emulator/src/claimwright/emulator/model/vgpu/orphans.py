"""vGPUs do not outlive what carries them: their GPU on the NVIDIA driver, and their virtual function."""

from __future__ import annotations

from dataclasses import replace

from claimwright.emulator.model.pci import PciAddress
from claimwright.emulator.model.state import NodeState
from claimwright.emulator.model.vgpu.state import Vgpu


def without_orphans(state: NodeState) -> NodeState:
    """Return the state without vGPUs whose carrier is gone, and without the machines that ran on them."""
    gone = {each.id: each for each in state.vgpus if not _is_carried(state, each)}
    if not gone:
        return state
    ended = {(each.gpu, each.vm.pid) for each in gone.values() if each.vm}
    gpus = tuple(
        replace(gpu, processes=tuple(each for each in gpu.processes if (gpu.index, each.pid) not in ended))
        if any(index == gpu.index for index, _ in ended)
        else gpu
        for gpu in state.gpus
    )
    return replace(state, gpus=gpus, vgpus=tuple(each for each in state.vgpus if each.id not in gone))


def _is_carried(state: NodeState, vgpu: Vgpu) -> bool:
    gpu = state.gpus[vgpu.gpu]
    if gpu.lost or not gpu.nvml_visible:
        return False
    if vgpu.is_mediated:
        return True
    return _address(vgpu.carrier) in state.bus.functions


def _address(carrier: str) -> PciAddress | None:
    try:
        return PciAddress.parse(carrier)
    except ValueError:
        return None
