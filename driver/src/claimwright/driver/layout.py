"""How the pool is written, which depends on what the API server keeps.

From Kubernetes 1.35 on, counters have slices of their own; in 1.34 (alpha) they stood beside the devices that take from
them. A server whose gates are off drops counters or taints silently; then only what is true without them is published.
Where it cannot store attributes that are lists, they are published as the single values that they hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from claimwright.dra.plugin import LIST_ATTRIBUTES
from claimwright.dra.slices import CounterLayout
from claimwright.driver.entries import HeldDevice
from claimwright.driver.recipes.recipe import AnyOffer

_SEPARATE_COUNTERS: Final = (1, 35)
_DROPPED_COUNTERS: Final = re.compile(r"sharedCounters|consumesCounters")
_DROPPED_TAINTS: Final = re.compile(r"taints")


@dataclass(frozen=True)
class Layout:
    """What the API server keeps of counters, taints and list attributes, and where counters stand."""

    counter_layout: CounterLayout = "per-set"
    counters: bool = True
    taints: bool = True
    lists: bool = True

    @classmethod
    def for_server(cls, version: tuple[int, int]) -> Layout:
        """Choose by the server's version."""
        return cls("per-set" if version >= _SEPARATE_COUNTERS else "beside")

    def without(self, dropped: Iterable[str]) -> Layout:
        """Return the layout for a server that dropped these fields."""
        fields = tuple(dropped)
        return replace(
            self,
            counters=self.counters and not any(map(_DROPPED_COUNTERS.search, fields)),
            taints=self.taints and not any(map(_DROPPED_TAINTS.search, fields)),
            lists=self.lists and LIST_ATTRIBUTES not in fields,
        )


def publishable(
    offers: Iterable[AnyOffer], layout: Layout, held: Sequence[HeldDevice], sick: Mapping[str, bool]
) -> Iterator[AnyOffer]:
    """Yield what may be published: nothing that only a counter or a taint that is dropped would keep apart.

    `sick` tells by name which devices must not be given away.
    """
    for offer in offers:
        if not layout.counters and _needs_counters(offer, held):
            continue
        if not layout.taints and sick.get(offer.name, False):
            continue
        yield offer


def _needs_counters(offer: AnyOffer, held: Sequence[HeldDevice]) -> bool:
    """Whether only counters tell the scheduler not to give `offer` away beside something else of its GPU."""
    if offer.on_demand:
        return True
    here = (each for each in held if each.hardware == offer.hardware and each.device != offer.name)
    return any(not (each.parts and offer.parts and each.parts.isdisjoint(offer.parts)) for each in here)
