"""Partitions that exist already: an administrator made them, the driver hands them out as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from claimwright.dra.claims import ClaimUid
from claimwright.dra.slices import CounterConsumption
from claimwright.driver import counters
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.inventory import Gpu, Inventory
from claimwright.driver.recipes.mig_device import CONFIG, TYPE, MigDevice, describe
from claimwright.driver.recipes.partition_access import let_in
from claimwright.driver.recipes.recipe import Offer, Preparation, Wanted
from claimwright.driver.shares import NO_SHARES, Shares

if TYPE_CHECKING:
    from claimwright.driver.configs import MigDeviceConfig


class StaticMig:
    """Offers the partitions that somebody else made; neither prepare nor release changes them."""

    type = TYPE
    config = CONFIG

    def __init__(self, gates: FeatureGates, shares: Shares = NO_SHARES) -> None:
        self._dynamic = gates["DynamicMIG"]
        self._list_numa = gates["DRAListTypeAttributes"]
        self._shares = shares

    def discover(self, inventory: Inventory) -> Iterable[Offer[MigDevice]]:
        """Offer them by GPU and place."""
        for gpu in inventory.gpus:
            for device in sorted(_existing(gpu), key=lambda device: device.name):
                described = describe(
                    device, inventory, list_numa=self._list_numa, consumes=self._consumes(device)
                )
                yield Offer(self._shares.of(described), self, gpu.pci_bus_id, device, device.parts)

    def prepare(
        self,
        claim: ClaimUid,
        group: Sequence[Wanted[MigDevice]],
        config: MigDeviceConfig | None,
    ) -> Preparation:
        """Let containers in; the hardware is as it should be."""
        return let_in(claim, [wanted.offer.source for wanted in group], config, self._shares)

    def _consumes(self, device: MigDevice) -> tuple[CounterConsumption, ...]:
        if not self._dynamic:
            return ()
        return counters.part(device.gpu, device.profile, device.placement)


def _existing(gpu: Gpu) -> Iterator[MigDevice]:
    profiles = {profile.profile_id: profile for profile in gpu.mig.profiles} if gpu.mig is not None else {}
    for partition in gpu.foreign:
        profile = profiles.get(partition.profile_id)
        if profile is not None and partition.compute_instances:
            yield MigDevice(gpu, profile, partition.placement, partition.compute_instances[0].uuid)
