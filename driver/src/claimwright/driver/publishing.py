"""The pool that this node publishes: every device of every recipe, in one deterministic order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from claimwright.dra.slices import Attribute, Device, Pool
from claimwright.driver.entries import Entry
from claimwright.driver.health import Ailment, concerns, taints_of
from claimwright.driver.layout import Layout, publishable
from claimwright.driver.recipes.recipe import AnyOffer
from claimwright.driver.stock import Stock


def pool_of(
    node_name: str,
    stock: Stock,
    *,
    layout: Layout = Layout(),  # noqa: B008  a frozen value
    ailing: Mapping[str, Sequence[Ailment]] | None = None,
    entries: Iterable[Entry] = (),
) -> Pool:
    """Return the node's pool; the scheduler prefers earlier devices, so the order is that of the stock.

    `ailing` are the ailments of each device by name, `entries` the claims that this node holds.
    """
    ailments = ailing or {}
    sick = {name: any(each.severe for each in found) for name, found in ailments.items()}
    held = [device for entry in entries for device in entry.devices if not device.admin_access]
    chosen = publishable(stock.offers.values(), layout, held, sick)
    return Pool(
        name=node_name,
        devices=tuple(_device(offer, layout, ailments.get(offer.name, ())) for offer in chosen),
        shared_counters=stock.counter_sets() if layout.counters else (),
        node_name=node_name,
        counter_layout=layout.counter_layout,
    )


def ailing_devices(stock: Stock, ailments: Iterable[Ailment]) -> dict[str, tuple[Ailment, ...]]:
    """Return by name of device what ails it, for every device that is offered."""
    every = tuple(ailments)
    return {
        name: tuple(each for each in every if concerns(each, offer)) if every else ()
        for name, offer in stock.offers.items()
    }


def _device(offer: AnyOffer, layout: Layout, ailments: Sequence[Ailment]) -> Device:
    device = offer.device if layout.counters else replace(offer.device, consumes_counters=())
    device = device if layout.lists else replace(device, attributes=dict(_single(device.attributes)))
    return replace(device, taints=taints_of(ailments)) if ailments and layout.taints else device


def _single(attributes: Mapping[str, Attribute]) -> Iterator[tuple[str, Attribute]]:
    """Yield lists of one value as that value; longer ones say more than a single value can, and stay out."""
    for name, value in attributes.items():
        if not isinstance(value, tuple):
            yield name, value
        elif len(value) == 1:
            yield name, value[0]
