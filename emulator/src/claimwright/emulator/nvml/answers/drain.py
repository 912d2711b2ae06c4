"""Draining, removing and finding GPUs again: calls that name a GPU by its PCI address, gone from NVML or not."""

from __future__ import annotations

from claimwright.emulator.model import GpuState, PciAddress
from claimwright.emulator.model.operations import bus, settings
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.layout import Result

_REMOVE, _KEEP = 1, 0  # nvmlDetachGpuState_t
_POWER_DOWN = 1  # nvmlPcieLinkState_t


def modify(call: Call, info: r.nvmlPciInfo_t, state: int) -> None:
    """Let a GPU take no new clients, or let it again (nvmlDeviceModifyDrainState)."""
    if state > 1:
        raise Refused(Result.INVALID_ARGUMENT)
    call.need_admin()
    call.perform(settings.set_drain, _gpu(call, info).index, draining=bool(state))


def query(call: Call, info: r.nvmlPciInfo_t) -> int:
    """Return whether a GPU is being drained (nvmlDeviceQueryDrainState)."""
    return int(_gpu(call, info).settings.draining)


def remove(call: Call, info: r.nvmlPciInfo_t) -> None:
    """Take a GPU off the bus; IN_USE while a process uses it (nvmlDeviceRemoveGpu)."""
    remove_v2(call, info, _REMOVE, 0)


def remove_v2(call: Call, info: r.nvmlPciInfo_t, detach: int, link: int) -> None:
    """Take a GPU off the bus, or with KEEP only from its driver (nvmlDeviceRemoveGpu_v2)."""
    if detach > _REMOVE or link > _POWER_DOWN:
        raise Refused(Result.INVALID_ARGUMENT)
    call.need_admin()
    gpu = _gpu(call, info)
    if gpu.processes:
        raise Refused(Result.IN_USE)
    operation = bus.unbind if detach == _KEEP else bus.remove
    call.perform(operation, str(gpu.pci))


def discover(call: Call, _info: r.nvmlPciInfo_t | None) -> None:
    """Look for removed GPUs again (nvmlDeviceDiscoverGpus)."""
    call.need_admin()
    call.perform(bus.rescan)


def _gpu(call: Call, info: r.nvmlPciInfo_t) -> GpuState:
    """Find by number, or by the text where a caller filled only that, as nvidia-smi drain does."""
    wanted = PciAddress(info.domain, info.bus, info.device)
    if text := info.busId.decode(errors="replace"):
        try:
            wanted = PciAddress.parse(text)
        except ValueError:
            raise Refused(Result.INVALID_ARGUMENT) from None
    for gpu in call.state.gpus:
        if (gpu.pci.domain, gpu.pci.bus, gpu.pci.device) == (wanted.domain, wanted.bus, wanted.device):
            return gpu
    raise Refused(Result.NOT_FOUND)


ANSWERS = {
    "nvmlDeviceModifyDrainState": modify,
    "nvmlDeviceQueryDrainState": query,
    "nvmlDeviceRemoveGpu": remove,
    "nvmlDeviceRemoveGpu_v2": remove_v2,
    "nvmlDeviceDiscoverGpus": discover,
}
