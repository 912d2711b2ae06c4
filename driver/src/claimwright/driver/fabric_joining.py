"""Which partition of the fabric manager joins the GPUs of a claim; they must be just those of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from claimwright.driver.errors import ClaimRefused
from claimwright.driver.inventory import Inventory
from claimwright.driver.ports import FabricPartition
from claimwright.driver.recipes.gpu_attributes import GPU_TYPE
from claimwright.driver.recipes.recipe import AnyWanted
from claimwright.driver.recipes.vfio import TYPE as VFIO
from claimwright.driver.steps import Step
from claimwright.driver.tools.fabric_partition import fabric_partition

_JOINED = (GPU_TYPE, VFIO)


def fabric_steps(wanted: Iterable[AnyWanted], inventory: Inventory) -> tuple[Step, ...]:
    """Return what joins the whole GPUs of a claim, those of virtual machines included; nothing where none can be.

    ClaimRefused, before anything is touched, when no partition has just these GPUs. Who only looks joins nothing.
    """
    addresses = {
        each.offer.hardware: each.offer.name
        for each in wanted
        if each.offer.recipe.type in _JOINED and not each.result.admin_access
    }
    partitions = inventory.fabric_partitions
    if not partitions or not addresses:
        return ()
    modules = tuple(sorted(_module_of(inventory, address, name) for address, name in addresses.items()))
    found = next((each for each in partitions if each.modules == modules), None)
    if found is None:
        raise ClaimRefused(_explain(modules, addresses.values(), partitions))
    return (fabric_partition(found.number),)


def _module_of(inventory: Inventory, address: str, name: str) -> int:
    """Return what NVML says, else what the fabric manager does: it knows GPUs that NVML does not see."""
    gpu = inventory.gpu_at(address)
    if gpu is not None and gpu.module_id is not None:
        return gpu.module_id
    for partition in inventory.fabric_partitions or ():
        if address in partition.addresses:
            return partition.modules[partition.addresses.index(address)]
    raise ClaimRefused(
        f"the module id of {name} ({address}) is not known, and no fabric partition can be found"
    )


def _explain(modules: tuple[int, ...], names: Iterable[str], partitions: Iterable[FabricPartition]) -> str:
    same = " or ".join(_alike(len(modules), partitions)) or "there is none of that size"
    return (
        f"devices {', '.join(sorted(names))} have the modules {_listed(modules)}, which are no partition of the fabric "
        f"manager: {same}. Constrain the requests with matchAttribute gpu.nvidia.com/partition{len(modules)}."
    )


def _alike(size: int, partitions: Iterable[FabricPartition]) -> Iterator[str]:
    return (_listed(each.modules) for each in partitions if len(each.modules) == size)


def _listed(modules: Iterable[int]) -> str:
    return ", ".join(map(str, modules))
