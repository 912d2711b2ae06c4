"""Whole GPUs: how one is described in a ResourceSlice, and what preparing it takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from claimwright.dra.claims import ClaimUid
from claimwright.dra.quantities import Quantity
from claimwright.dra.slices import Device
from claimwright.driver import counters
from claimwright.driver.counters import capacities
from claimwright.driver.edits.driver_files import driver_files
from claimwright.driver.edits.gpu_node import gpu_node
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.inventory import Gpu, Inventory
from claimwright.driver.recipes.fabric_attributes import fabric_attributes
from claimwright.driver.recipes.gpu_attributes import GPU_TYPE, gpu_attributes
from claimwright.driver.recipes.mps_sharing import mps_of_gpus
from claimwright.driver.recipes.recipe import Given, Offer, Preparation, Wanted
from claimwright.driver.shares import NO_SHARES, Shares
from claimwright.driver.steps import Step
from claimwright.driver.strategies import TIME_SLICING
from claimwright.driver.tools.mig_mode import mig_mode
from claimwright.driver.tools.time_slice import time_slice

if TYPE_CHECKING:
    from claimwright.driver.configs import GpuConfig
    from claimwright.driver.configs.sharing import GpuSharing


class FullGpus:
    """Offers GPUs as a whole.

    Where the GPU is offered in other forms too, a whole GPU takes all of its counters, so that the scheduler gives
    one or the other. Where partitions are not made on demand, a GPU in MIG mode is not offered as a whole.
    """

    type = GPU_TYPE
    config = "GpuConfig"

    def __init__(self, gates: FeatureGates, shares: Shares = NO_SHARES) -> None:
        self._dynamic = gates["DynamicMIG"]
        self._passed_through = gates["PassthroughSupport"]
        self._list_numa = gates["DRAListTypeAttributes"]
        self._shares = shares

    def discover(self, inventory: Inventory) -> Iterable[Offer[Gpu]]:
        """Offer the GPUs by minor number."""
        for gpu in inventory.gpus:
            if self._is_available(gpu):
                device = describe(
                    gpu, inventory, list_numa=self._list_numa, partitionable=self._partitions(gpu)
                )
                if self._partitions(gpu) or self._passed_through or gpu.vgpus is not None:
                    device = replace(device, consumes_counters=counters.whole(gpu))
                yield Offer(self._shares.of(device), self, hardware=gpu.pci_bus_id, source=gpu)

    def prepare(self, claim: ClaimUid, group: Sequence[Wanted[Gpu]], config: GpuConfig | None) -> Preparation:
        """Apply the config to each GPU; a claim's containers get its nodes and the driver's files."""
        gpus = [wanted.offer.source for wanted in group]
        sharing = None if config is None else config.sharing
        mps = mps_of_gpus(claim, gpus, sharing, self._shares)
        return Preparation(
            given=tuple(Given(edits=(gpu_node(gpu), *mps.edits)) for gpu in gpus),
            steps=(
                *(mig_mode(gpu.uuid, enabled=False) for gpu in gpus if self._partitions(gpu)),
                *(step for gpu in gpus for step in _time_slices(gpu, sharing)),
                *mps.steps,
            ),
            edits=(driver_files(),),
        )

    def _partitions(self, gpu: Gpu) -> bool:
        """Whether this driver makes partitions of the GPU on demand, and switches its mode for them."""
        return self._dynamic and gpu.switches_mig

    def _is_available(self, gpu: Gpu) -> bool:
        if gpu.carries_foreign_vgpus:
            return False
        if self._partitions(gpu):
            return not gpu.foreign
        return gpu.mig is None or not gpu.mig.enabled


def describe(gpu: Gpu, inventory: Inventory, *, list_numa: bool, partitionable: bool) -> Device:
    """Return the device as it is published; what is not known stays out.

    A partitionable GPU's capacities are the most that a partition of it can have, as in its counter set.
    """
    attributes = {**gpu_attributes(gpu, inventory, list_numa=list_numa), **fabric_attributes(gpu, inventory)}
    if partitionable and gpu.mig is not None and gpu.mig.profiles:
        capacity = capacities(counters.largest_engines(gpu.mig.profiles))
        return Device(gpu.device_name, attributes, capacity)
    memory = {} if gpu.memory_bytes is None else {"memory": Quantity.of_bytes(gpu.memory_bytes)}
    return Device(gpu.device_name, attributes, memory)


def _time_slices(gpu: Gpu, sharing: GpuSharing | None) -> Iterator[Step]:
    """Yield what sets the GPU's time slice; no sharing block needs nothing."""
    if sharing is not None and sharing.strategy == TIME_SLICING:
        yield time_slice(gpu.uuid, sharing.time_slice_interval)
