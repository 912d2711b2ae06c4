"""The pool that this node publishes: every device of every recipe, in one deterministic order."""

from __future__ import annotations

from claimwright.dra.slices import Pool
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.inventory import Inventory
from claimwright.driver.recipes import full


def pool_of(node_name: str, inventory: Inventory, gates: FeatureGates) -> Pool:
    """Return the node's pool; the scheduler prefers earlier devices, so the order is by minor number."""
    devices = tuple(full.describe(gpu, inventory, gates) for gpu in inventory.gpus)
    return Pool(name=node_name, devices=devices, node_name=node_name)
