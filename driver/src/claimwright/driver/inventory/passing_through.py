"""GPUs that claims have taken from NVML's sight stay as they were known: counters say that they are taken."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from claimwright.driver.inventory.gpus import Inventory


def keep_passed_through(now: Inventory, before: Inventory, addresses: Collection[str]) -> Inventory:
    """Return `now` with those GPUs of `before` that NVML no longer sees and that are passed through by claims.

    The scheduler knows them to be taken, by counters, so that nothing has to be published when a virtual machine
    comes and goes. What an administrator gave to another driver is not among `addresses`, and is gone.
    """
    seen = {gpu.pci_bus_id for gpu in now.gpus}
    kept = [gpu for gpu in before.gpus if gpu.pci_bus_id in addresses and gpu.pci_bus_id not in seen]
    return replace(now, gpus=tuple(sorted((*now.gpus, *kept), key=lambda gpu: gpu.minor))) if kept else now
