"""Bring a world back to its first state between cases, through its own door."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from claimwright.e2e.kernel_lab.errors import WorldBroken
from claimwright.e2e.kernel_lab.world import World

_PCI = "/sys/bus/pci"
_MDEVS = "/sys/bus/mdev/devices"


def restore(world: World) -> None:
    """Remove mdevs and VFs, plug everything in, clear overrides, bind every function to its home driver.

    WorldBroken when the world is not as at its start afterwards: a case has left something behind for good.
    """
    for step in _steps(world):
        with contextlib.suppress(OSError):
            world.door.write(step[0], step[1].encode())
    if astray := [(address, driver, now) for address, driver, now in _drivers(world) if driver != now]:
        told = ", ".join(
            f"{address} is on {now or 'no driver'}, not {driver}" for address, driver, now in astray
        )
        raise WorldBroken(f"{world.name} does not come back to its first state: {told}")


def _steps(world: World) -> Iterator[tuple[str, str]]:
    if "mdev" in world.offers:
        yield from ((f"{_MDEVS}/{uuid}/remove", "1") for uuid in _names(world, _MDEVS))
    if "sriov" in world.offers:
        yield from _without_functions(world)
    if "hotplug" in world.offers and any(
        address not in _names(world, f"{_PCI}/devices") for address in world.homes
    ):
        yield f"{_PCI}/rescan", "1"
    for address, driver, now in _drivers(world):
        yield from _home(world, address, driver, now)
    if "sriov" in world.offers:
        yield from _without_functions(world)  # again: without its driver a physical function unmakes none


def _without_functions(world: World) -> Iterator[tuple[str, str]]:
    folder = f"{_PCI}/devices/{world.symbols['pf']}"
    yield f"{folder}/sriov_drivers_autoprobe", "1"
    if _text(world, f"{folder}/sriov_numvfs") != "0":
        yield f"{folder}/sriov_numvfs", "0"


def _home(world: World, address: str, driver: str, now: str | None) -> Iterator[tuple[str, str]]:
    folder = f"{_PCI}/devices/{address}"
    if _text(world, f"{folder}/driver_override") != "(null)":
        yield f"{folder}/driver_override", "\n"
    if now != driver:
        if now is not None:
            yield f"{folder}/driver/unbind", address
        yield f"{_PCI}/drivers/{driver}/bind", address


def _drivers(world: World) -> list[tuple[str, str, str | None]]:
    """Return address, home and present driver of every function."""
    return [(address, driver, _driver(world, address)) for address, driver in world.homes.items()]


def _driver(world: World, address: str) -> str | None:
    try:
        return world.door.readlink(f"{_PCI}/devices/{address}/driver").rpartition("/")[2]
    except OSError:
        return None


def _names(world: World, folder: str) -> list[str]:
    try:
        return world.door.list(folder)
    except OSError:
        return []


def _text(world: World, path: str) -> str:
    try:
        return world.door.read(path).decode().strip()
    except OSError:
        return ""
