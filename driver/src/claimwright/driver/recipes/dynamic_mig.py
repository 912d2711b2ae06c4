"""Partitions on demand: every place where the GPU can be cut is offered, and cut when a claim takes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from claimwright.dra.claims import ClaimUid
from claimwright.driver import counters
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.inventory import Gpu, Inventory
from claimwright.driver.recipes.mig_device import CONFIG, TYPE, MigDevice, describe
from claimwright.driver.recipes.partition_access import let_in
from claimwright.driver.recipes.recipe import Offer, Preparation, Wanted
from claimwright.driver.shares import NO_SHARES, Shares
from claimwright.driver.steps import Step
from claimwright.driver.tools.mig_mode import mig_mode
from claimwright.driver.tools.mig_partition import mig_partition

if TYPE_CHECKING:
    from claimwright.driver.configs import MigDeviceConfig


class DynamicMig:
    """Offers profiles times places; counters tell the scheduler which of them exclude each other.

    Boards that switch MIG mode at once are cut from either mode; boards that need a reset only when an
    administrator has put them into MIG mode. Places in which somebody else made partitions are not offered.
    """

    type = TYPE
    config = CONFIG

    def __init__(self, gates: FeatureGates, shares: Shares = NO_SHARES) -> None:
        self._enabled = gates["DynamicMIG"]
        self._list_numa = gates["DRAListTypeAttributes"]
        self._shares = shares

    def discover(self, inventory: Inventory) -> Iterable[Offer[MigDevice]]:
        """Offer them by GPU and name, which is the order that the scheduler tries them in."""
        if not self._enabled:
            return
        for gpu in inventory.gpus:
            for device in sorted(_places(gpu), key=lambda device: device.name):
                consumes = counters.part(gpu, device.profile, device.placement)
                described = describe(device, inventory, list_numa=self._list_numa, consumes=consumes)
                offered = self._shares.of(described)
                yield Offer(offered, self, gpu.pci_bus_id, device, device.parts, on_demand=True)

    def prepare(
        self,
        claim: ClaimUid,
        group: Sequence[Wanted[MigDevice]],
        config: MigDeviceConfig | None,
    ) -> Preparation:
        """Cut, then let containers in."""
        devices = [wanted.offer.source for wanted in group]
        access = let_in(claim, devices, config, self._shares)
        cuts = (step for device in devices for step in _cut(device))
        return replace(access, steps=(*cuts, *access.steps))


def _places(gpu: Gpu) -> Iterator[MigDevice]:
    if gpu.mig is None or not (gpu.switches_mig or gpu.mig.enabled) or _is_for_vgpus(gpu):
        return
    taken = {number for partition in gpu.foreign for number in partition.placement.slices}
    for profile in gpu.mig.profiles:
        for placement in profile.placements:
            if taken.isdisjoint(placement.slices):
                yield MigDevice(gpu, profile, placement)


def _is_for_vgpus(gpu: Gpu) -> bool:
    """Whether it carries vGPUs of others, or an administrator lets several sizes share it, which counts in slots."""
    return gpu.carries_foreign_vgpus or (gpu.vgpus is not None and gpu.vgpus.mixed_sizes)


def _cut(device: MigDevice) -> Iterator[Step]:
    if device.gpu.switches_mig:
        yield mig_mode(device.gpu.uuid, enabled=True)
    yield mig_partition(device.gpu.uuid, device.profile.profile_id, device.placement)
