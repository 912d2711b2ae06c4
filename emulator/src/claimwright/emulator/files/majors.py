"""The major numbers of the driver's devices: 195 is fixed, the others the kernel hands out at load."""

from __future__ import annotations

import re
from dataclasses import dataclass

from claimwright.emulator.errors import MountRefused

NVIDIA_MAJOR = 195  # Documentation/admin-guide/devices.txt
_CONTAINER_MINOR = 0xFFFFF  # 10:196 may be this machine's real VFIO: an attached node has numbers of its own
_DYNAMIC = (*range(254, 233, -1), *range(511, 383, -1))  # fs/char_dev.c, find_dynamic_major
_LINE = re.compile(r"\s*(\d+) (\S+)")


@dataclass(frozen=True, slots=True)
class Majors:
    """Majors of one node; the defaults are for trees that stand alone."""

    uvm: int = 237
    caps: int = 236
    imex_channels: int = 235
    nvswitch: int = 238
    nvlink: int = 239
    vfio_groups: int = 241
    vfio_devices: int = 242
    container: tuple[int, int] = (10, 196)  # VFIO_MINOR, linux/miscdevice.h
    iommu: tuple[int, int] = (10, 127)

    def lines(self, *, nvswitch: bool, vfio: bool = True) -> list[tuple[int, str]]:
        """Return what /proc/devices lists, sorted as it lists it."""
        found = [
            (NVIDIA_MAJOR, "nvidia"),
            (NVIDIA_MAJOR, "nvidia-modeset"),
            (NVIDIA_MAJOR, "nvidiactl"),
            (self.uvm, "nvidia-uvm"),
            (self.caps, "nvidia-caps"),
            (self.imex_channels, "nvidia-caps-imex-channels"),
            (self.nvlink, "nvidia-nvlink"),
            *(((self.vfio_groups, "vfio"), (self.vfio_devices, "vfio-dev")) if vfio else ()),
        ]
        return sorted([*found, (self.nvswitch, "nvidia-nvswitch")] if nvswitch else found)


def free_majors(proc_devices: str) -> Majors:
    """Choose majors that no driver of this machine has: an emulated node must never open a real device.

    `proc_devices` is the machine's own /proc/devices; MountRefused when it runs the NVIDIA driver itself.
    """
    taken = {int(found[1]): found[2] for line in proc_devices.splitlines() if (found := _LINE.match(line))}
    if NVIDIA_MAJOR in taken:
        owner = taken[NVIDIA_MAJOR]
        raise MountRefused(
            f"major {NVIDIA_MAJOR} belongs to {owner!r} here: this machine has a real NVIDIA driver"
        )
    free = [major for major in _DYNAMIC if major not in taken]
    return Majors(
        uvm=free[0],
        caps=free[1],
        imex_channels=free[2],
        nvswitch=free[3],
        nvlink=free[4],
        vfio_groups=free[5],
        vfio_devices=free[6],
        container=(free[5], _CONTAINER_MINOR),
        iommu=(free[6], _CONTAINER_MINOR),
    )
