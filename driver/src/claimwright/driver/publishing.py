"""The pool that this node publishes: every device of every recipe, in one deterministic order."""

from __future__ import annotations

from claimwright.dra.slices import Pool
from claimwright.driver.stock import Stock


def pool_of(node_name: str, stock: Stock) -> Pool:
    """Return the node's pool; the scheduler prefers earlier devices, so the order is that of the stock."""
    return Pool(
        name=node_name,
        devices=tuple(offer.device for offer in stock.offers.values()),
        shared_counters=stock.counter_sets(),
        node_name=node_name,
    )
