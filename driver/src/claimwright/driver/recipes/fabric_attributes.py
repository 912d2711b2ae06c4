"""Where a GPU is in the fabric of NVSwitches, for constraints of claims that want GPUs which can be joined."""

from __future__ import annotations

from collections.abc import Mapping

from claimwright.dra.slices import Attribute
from claimwright.driver.inventory import Gpu, Inventory


def fabric_attributes(gpu: Gpu | None, inventory: Inventory) -> Mapping[str, Attribute]:
    """Return module id, and by size the partition that has the GPU; nothing where the fabric is not shared.

    `partition2` is the number of the partition of two GPUs; of several, the lowest number.
    """
    if gpu is None or gpu.module_id is None or not inventory.fabric_partitions:
        return {}
    mine = [each for each in inventory.fabric_partitions if gpu.module_id in each.modules]
    numbers = {f"partition{len(each.modules)}": each.number for each in reversed(mine)}
    return {"gpuModuleID": gpu.module_id, **dict(sorted(numbers.items()))}
