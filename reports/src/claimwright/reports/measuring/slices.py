"""What a driver has published for a node, read from its ResourceSlices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class PublishedDevice:
    """A device by the names that an allocation uses."""

    pool: str
    name: str
    shares_hardware: bool = False
    tainted: bool = False


@dataclass(frozen=True, slots=True)
class Pools:
    """The newest generation of each pool; incomplete while slices of it are missing."""

    devices: tuple[PublishedDevice, ...]
    complete: bool


def read_pools(slices: Iterable[Object], *, driver: str, node: str) -> Pools:
    """Gather the pools of one driver on one node; no slice at all is not complete."""
    pools: dict[str, list[Object]] = {}
    for entry in slices:
        spec = entry["spec"]
        if spec["driver"] == driver and spec.get("nodeName") == node:
            pools.setdefault(spec["pool"]["name"], []).append(spec)
    newest = [_newest(specs) for specs in pools.values()]
    complete = bool(newest) and all(len(specs) == specs[0]["pool"]["resourceSliceCount"] for specs in newest)
    return Pools(tuple(sorted(device for specs in newest for device in _devices(specs))), complete)


def usable(pools: Pools, claims: Iterable[Object], *, driver: str) -> list[PublishedDevice]:
    """Choose devices that can be prepared at the same time: free, not tainted, no two on one counter set.

    Partitions that share counters may exclude each other by rules of the hardware, so they are used only
    where a driver publishes nothing else, and then one of them.
    """
    taken = {(result["pool"], result["device"]) for result in _results(claims) if result["driver"] == driver}
    free = [
        device for device in pools.devices if (device.pool, device.name) not in taken and not device.tainted
    ]
    return [device for device in free if not device.shares_hardware] or free[:1]


def _newest(specs: list[Object]) -> list[Object]:
    generation = max(spec["pool"]["generation"] for spec in specs)
    return [spec for spec in specs if spec["pool"]["generation"] == generation]


def _devices(specs: Iterable[Object]) -> Iterable[PublishedDevice]:
    for spec in specs:
        for device in spec.get("devices") or ():
            yield PublishedDevice(
                pool=spec["pool"]["name"],
                name=device["name"],
                shares_hardware=bool(device.get("consumesCounters")),
                tainted=any(taint.get("effect") != "None" for taint in device.get("taints") or ()),
            )


def _results(claims: Iterable[Object]) -> Iterable[Object]:
    for claim in claims:
        allocation = (claim.get("status") or {}).get("allocation") or {}
        yield from (allocation.get("devices") or {}).get("results") or ()
