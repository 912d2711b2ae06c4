"""GPUs that are here and that NVML does not describe now: they stay as they were known, rather than vanish."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Final

from claimwright.driver.inventory.functions import PCI_DEVICES, driver_of
from claimwright.driver.inventory.gpus import Gpu, Inventory
from claimwright.driver.ports import Host, UnreadableGpu

_DRIVER: Final = "nvidia"
_UNLISTED: Final = (
    "the NVIDIA driver has it, NVML does not list it: is its node in /dev, and may it be opened?"
)


def keep_known(
    now: Inventory, before: Inventory, host: Host, held: Collection[str] = (), moved: Collection[str] = ()
) -> Inventory:
    """Return `now` with the GPUs of `before` that are still here, though NVML does not describe them.

    Those that the NVIDIA driver has and NVML cannot read or does not list are marked so. Those that claims hold
    (`held`, by PCI address) under another driver were given to a virtual machine: they are as well as before, and their
    counters keep their other forms from being given away, also when they come back while NVML is read. A GPU that is
    not on the bus was pulled out, and is gone. One that claims `moved` in the time of the reading, to another driver or
    back, is as well as before, too: what NVML said of it was true of a moment only, and when it has arrived the node is
    read again. A GPU that is in MIG mode for this driver's partitions only still hosts the vGPUs that it hosts outside:
    NVML does not list their types meanwhile, counters keep them from being given away.
    """
    now = replace(now, gpus=tuple(_hosting_as(before, gpu) for gpu in now.gpus))
    if now.fabric_partitions is None:
        # A fabric manager that is away for a while changes nothing of the wiring.
        now = replace(now, fabric_partitions=before.fabric_partitions)
    known = {gpu.pci_bus_id for gpu in now.gpus}
    missing = sorted(
        (gpu for gpu in before.gpus if gpu.pci_bus_id not in known and _is_on_the_bus(gpu, host)),
        key=lambda gpu: gpu.pci_bus_id,
    )
    if not missing:
        return now
    on_its_way = [gpu for gpu in missing if gpu.pci_bus_id in moved]
    missing = [gpu for gpu in missing if gpu not in on_its_way]
    silent = [gpu for gpu in missing if driver_of(host, gpu.pci_bus_id) == _DRIVER]
    away = [gpu for gpu in missing if gpu not in silent and gpu.pci_bus_id in held]
    back = [gpu for gpu in silent if gpu.pci_bus_id in held and not now.unreadable]
    ailing = _marked((gpu for gpu in silent if gpu not in back), now.unreadable)
    kept = [*on_its_way, *ailing, *away, *back]
    return replace(now, gpus=tuple(sorted((*now.gpus, *kept), key=lambda gpu: gpu.minor)))


def _hosting_as(before: Inventory, gpu: Gpu) -> Gpu:
    is_cut_by_us = gpu.mig is not None and gpu.mig.enabled and gpu.switches_mig and not gpu.foreign
    if gpu.vgpus is not None or not is_cut_by_us:
        return gpu
    known = next((each for each in before.gpus if each.uuid == gpu.uuid), gpu)
    return replace(gpu, vgpus=known.vgpus and replace(known.vgpus, foreign=()))


def _is_on_the_bus(gpu: Gpu, host: Host) -> bool:
    folder = PCI_DEVICES / gpu.pci_bus_id
    return host.read_link(folder) is not None or host.kind(folder) is not None


def _marked(silent: Iterable[Gpu], troubles: Iterable[UnreadableGpu]) -> Iterator[Gpu]:
    # NVML numbers GPUs by their PCI address, so that both are in one order.
    words = sorted(troubles, key=lambda gpu: gpu.index)
    for at, gpu in enumerate(silent):
        trouble = words[min(at, len(words) - 1)] if words else UnreadableGpu(gpu.minor, _UNLISTED)
        yield replace(gpu, lost=trouble.lost, unreadable=trouble.reason)
