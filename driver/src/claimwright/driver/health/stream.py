"""The health of every device for the kubelet (KEP-4680): complete lists, whenever something changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from claimwright.dra.prepared import DeviceHealth, Health
from claimwright.driver.entries import Entry
from claimwright.driver.health.ailments import UNMONITORED, Ailment
from claimwright.driver.ports import Clock

_TIMEOUT_SECONDS: Final = 30
_MESSAGE_CHARACTERS: Final = 1024


class HealthBoard:
    """The kit's HealthSource: `post` replaces what is known, and every subscriber is told."""

    def __init__(self, pool: str, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._devices: tuple[DeviceHealth, ...] = ()
        self._changed = asyncio.Event()

    def post(
        self,
        ailments: Mapping[str, Sequence[Ailment]],
        entries: Iterable[Entry],
        troubles: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Take the ailments of each offered device; what claims hold and nobody offers any more is unhealthy.

        So is what a claim in `troubles` holds (its uid, and what is wrong), though nothing ails its devices.
        """
        now = int(self._clock.now())
        known = {each.device: each for each in self._devices}
        found = {name: self._health(name, ailing, now) for name, ailing in ailments.items()}
        for uid, held in ((entry.uid, held) for entry in entries for held in entry.devices):
            gone = "" if held.device in found else "the device is gone from this node"
            text = gone or troubles.get(uid, "")
            if text:
                before = found[held.device].message if held.device in found else ""
                said = "; ".join(filter(None, (before, text)))[:_MESSAGE_CHARACTERS]
                found[held.device] = DeviceHealth(
                    self._pool, held.device, "Unhealthy", said, _TIMEOUT_SECONDS, now
                )
        devices = tuple(_older(each, known.get(name)) for name, each in found.items())
        if devices != self._devices:
            self._devices = devices
            self._changed.set()
            self._changed = asyncio.Event()

    async def watch(self) -> AsyncIterator[Sequence[DeviceHealth]]:
        """Give the complete list at once, and again whenever a device changes."""
        while True:
            changed = self._changed
            yield self._devices
            await changed.wait()

    def _health(self, name: str, ailing: Sequence[Ailment], now: int) -> DeviceHealth:
        text = "; ".join(dict.fromkeys(each.text for each in ailing))[:_MESSAGE_CHARACTERS]
        return DeviceHealth(self._pool, name, _verdict(ailing), text, _TIMEOUT_SECONDS, now)


def _verdict(ailing: Sequence[Ailment]) -> Health:
    if any(each.severe for each in ailing):
        return "Unhealthy"
    return "Unknown" if any(each.key == UNMONITORED for each in ailing) else "Healthy"


def _older(now: DeviceHealth, before: DeviceHealth | None) -> DeviceHealth:
    """Return what was known when nothing but the time differs."""
    same = before is not None and (now.health, now.message) == (before.health, before.message)
    return before if same and before is not None else now
