"""Consumable shares: one device for several claims at once, each with an amount of it (KEP-5075).

What `--consumable-shares` says: `memory` divides the memory, a number N allows N claims, `unlimited` any number. Names
and amounts are the community driver's. Nothing holds a container to its amount at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Self

from claimwright.dra.quantities import Quantity
from claimwright.dra.slices import Capacity, Device, RequestPolicy, ValidRange

DISABLED: Final = "disabled"
MEMORY: Final = "memory"
UNLIMITED: Final = "unlimited"
_MEBIBYTE: Final = 1 << 20
_ZERO: Final = Quantity.parse("0")
_ONE: Final = Quantity.parse("1")


@dataclass(frozen=True)
class Shares:
    """How devices are shared: by memory, among `limit` claims at most, or without limit; disabled means not."""

    rule: str = DISABLED
    limit: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `disabled`, `memory`, `unlimited` or a positive number; None when it is nothing of these."""
        if text in (DISABLED, MEMORY, UNLIMITED):
            return cls(text)
        counts = text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 31
        return cls("count", int(text)) if counts else None

    @property
    def enabled(self) -> bool:
        """Whether devices are shared at all."""
        return self.rule != DISABLED

    def of(self, device: Device) -> Device:
        """Return the device as it is published under this rule."""
        if not self.enabled:
            return device
        return replace(device, allow_multiple_allocations=True, capacity=self._capacity(device.capacity))

    def _capacity(self, capacity: Mapping[str, Quantity | Capacity]) -> dict[str, Quantity | Capacity]:
        shared: dict[str, Quantity | Capacity] = {
            name: _free(value) if isinstance(value, Quantity) and name != "memory" else value
            for name, value in capacity.items()
        }
        memory = capacity.get("memory")
        if isinstance(memory, Quantity):
            shared["memory"] = self._memory(int(memory) // _MEBIBYTE * _MEBIBYTE)
        if self.limit is not None:
            shared["shares"] = _counted(self.limit)
        return shared

    def _memory(self, size: int) -> Capacity:
        most, step = Quantity.of_bytes(size), Quantity.of_bytes(_MEBIBYTE)
        default, least = (most, step) if self.rule == MEMORY else (_ZERO, _ZERO)
        return Capacity(most, RequestPolicy(default, valid_range=ValidRange(least, most, step)))


NO_SHARES: Final = Shares()


def _free(value: Quantity) -> Capacity:
    """Let every share use all of it: without a policy, the first claim would take it away from the others."""
    return Capacity(value, RequestPolicy(_ZERO, valid_range=ValidRange(_ZERO, value)))


def _counted(limit: int) -> Capacity:
    most = Quantity.parse(str(limit))
    if limit == 1:  # a range whose step leads out of it is refused by the API server
        return Capacity(most, RequestPolicy(_ONE, valid_values=(_ONE,)))
    return Capacity(most, RequestPolicy(_ONE, valid_range=ValidRange(_ONE, most, _ONE)))
