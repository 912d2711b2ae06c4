"""What files tell of a change on the node: cheap enough to look at every few seconds, without NVML.

Real hardware announces hotplug and driver changes to whoever listens to the kernel; the files below say the same to
whoever looks, in a container as well, and on an emulated node.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from claimwright.driver.inventory.functions import PCI_DEVICES
from claimwright.driver.inventory.vgpus import MDEV_DEVICES
from claimwright.driver.ports import Host

_PROC: Final = PurePosixPath("/proc/driver/nvidia")
_CAPABILITIES: Final = _PROC / "capabilities"
_DRIVERS: Final = PurePosixPath("/sys/bus/pci/drivers")


def signature(host: Host) -> tuple[str, ...]:
    """Return words that change when a GPU comes or goes, changes its driver, is cut or hosts; else they stay."""
    return tuple(_words(host))


def _words(host: Host) -> Iterator[str]:
    yield host.read_text(_PROC / "version") or ""
    yield from host.entries(PCI_DEVICES)
    yield "on"
    yield from host.entries(_DRIVERS / "nvidia")
    yield from host.entries(_DRIVERS / "vfio-pci")
    yield from host.entries(_PROC / "gpus")
    yield from host.entries(MDEV_DEVICES)
    for gpu in host.entries(_CAPABILITIES):
        if gpu.startswith("gpu"):
            for instance in host.entries(_CAPABILITIES / gpu / "mig"):
                yield f"{gpu}/{instance}"
