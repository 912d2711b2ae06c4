"""How containers get into partitions, whoever made those: their nodes, and their MPS daemon where one is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from claimwright.dra.claims import ClaimUid
from claimwright.driver.edits.driver_files import driver_files
from claimwright.driver.edits.mig_node import mig_node
from claimwright.driver.recipes.mig_device import MigDevice
from claimwright.driver.recipes.mps_sharing import mps_of_partitions
from claimwright.driver.recipes.recipe import Given, Preparation
from claimwright.driver.shares import Shares

if TYPE_CHECKING:
    from claimwright.driver.configs import MigDeviceConfig


def let_in(
    claim: ClaimUid, devices: Sequence[MigDevice], config: MigDeviceConfig | None, shares: Shares
) -> Preparation:
    """Let containers into partitions that are there by then."""
    mps = mps_of_partitions(claim, devices, None if config is None else config.sharing, shares)
    return Preparation(
        given=tuple(Given(edits=(mig_node(device.gpu, device.placement), *mps.edits)) for device in devices),
        steps=mps.steps,
        edits=(driver_files(),),
    )
