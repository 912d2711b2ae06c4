"""Reading this node, with what the driver knows of its own partitions and vGPUs."""

from __future__ import annotations

import logging
from dataclasses import replace

from claimwright.driver.doors import Doors
from claimwright.driver.errors import StepFailed
from claimwright.driver.inventory import Inventory, IsOwn, IsOwnVgpu, discover, keep_known, signature
from claimwright.driver.known_gpus import KnownGpus
from claimwright.driver.ownership import Ownership
from claimwright.driver.ports import FabricPartition

logger = logging.getLogger(__name__)


class NodeReader:
    """Reads this node, with what the driver knows of its own partitions and vGPUs."""

    def __init__(self, doors: Doors, ownership: Ownership, known: KnownGpus, *, vgpus: bool) -> None:
        self._doors = doors
        self._known = known
        self._vgpus = vgpus
        self.ownership = ownership

    def first(self, discovered: Inventory) -> Inventory:
        """Read the node after `discovered`, the reading before anything was known of claims."""
        return self.read(self._known.complete(discovered, self.ownership.hardware()))

    def read(self, before: Inventory) -> Inventory:
        """Read the node; GPUs of `before` that are here and that NVML does not describe stay in."""
        held = self.ownership.hardware()
        with self.ownership.window() as own:
            now = discover_node(self._doors, own.partition, own.vgpu if self._vgpus else None)
            moved = own.moved()
        found = keep_known(now, before, self._doors.host, held | self.ownership.hardware(), moved)
        self._known.save(found.gpus)
        return found

    def signature(self) -> tuple[str, ...]:
        """Return what files tell of a change."""
        return signature(self._doors.host)


def discover_node(doors: Doors, is_own: IsOwn, is_own_vgpu: IsOwnVgpu | None) -> Inventory:
    """Read the node; `is_own_vgpu` is None where vGPUs are not to be read."""
    found = discover(doors.nvml, doors.host, is_own, is_own_vgpu)
    return replace(found, fabric_partitions=_fabric_partitions(doors))


def _fabric_partitions(doors: Doors) -> tuple[FabricPartition, ...] | None:
    if doors.fabric is None:
        return ()
    try:
        # Which ones are active changes with every claim, and says nothing of what is offered.
        return tuple(replace(each, active=False) for each in doors.fabric.partitions())
    except StepFailed as error:
        logger.debug("%s; what was known of its partitions stays", error)
        return None


def log_inventory(inventory: Inventory) -> None:
    """Say at start which GPUs there are, and why others are not offered."""
    for gpu in inventory.left_out:
        logger.warning("%s is not offered: %s", gpu.name, gpu.reason)
    if inventory.fabric_partitions is None:
        logger.warning(
            "the fabric manager does not answer: claims are prepared without its partitions until it does"
        )
    logger.info(
        "driver %s, CUDA %s, GPUs: %s",
        inventory.driver_version,
        inventory.cuda_driver_version,
        ", ".join(f"{gpu.device_name} {gpu.product_name} {gpu.uuid}" for gpu in inventory.gpus) or "none",
    )
