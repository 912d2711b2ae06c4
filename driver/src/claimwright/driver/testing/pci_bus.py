"""A PCI bus in memory that answers writes as the kernel does: driver_override, bind, unbind, VFIO's nodes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final

from claimwright.driver.testing.host import MemoryHost

_DEVICES: Final = PurePosixPath("/sys/bus/pci/devices")
_DRIVERS: Final = PurePosixPath("/sys/bus/pci/drivers")
_GROUPS: Final = PurePosixPath("/sys/kernel/iommu_groups")
_NO_OVERRIDE: Final = "(null)"


class MemoryPciBus(MemoryHost):
    """A host whose functions change drivers by writes to its files (drivers/pci/pci-driver.c, drivers/base/bus.c).

    `at_write` is called before and after each write, so that a test may end the world there; `stuck` are addresses
    whose unbinding fails, with EBUSY.
    """

    def __init__(self, *, drivers: tuple[str, ...] = ("nvidia", "vfio-pci", "snd_hda_intel")) -> None:
        super().__init__(devices={"/dev/vfio/vfio": (10, 196), "/dev/iommu": (10, 127)})
        self.at_write: Callable[[], None] = lambda: None
        self.stuck: set[str] = set()
        for driver in drivers:
            self.register(driver)

    def register(self, driver: str) -> None:
        """Load a driver."""
        for name in ("bind", "unbind"):
            self.files[_DRIVERS / driver / name] = ""
        self.files[PurePosixPath("/sys/module") / driver.replace("-", "_") / "initstate"] = "live"

    def add(
        self,
        address: str,
        *,
        driver: str | None = "nvidia",
        group: int | None = 7,
        class_code: int = 0x030200,
        device: int = 0x2330,
        vendor: int = 0x10DE,
        bars: tuple[int, ...] = (1 << 24, 1 << 37, 1 << 25),
    ) -> None:
        """Plug a function in; `bars` are sizes of 64-bit regions."""
        folder = _DEVICES / address
        modalias = f"pci:v{vendor:08X}d{device:08X}sv000010DEsd00000000bc03sc02i00"
        values = {
            "vendor": f"0x{vendor:04x}",
            "device": f"0x{device:04x}",
            "class": f"0x{class_code:06x}",
            "modalias": modalias,
            "numa_node": "0",
            "driver_override": _NO_OVERRIDE,
            "resource": "".join(f"{line}\n" for size in bars for line in _region(size)),
        }
        self.files |= {folder / name: f"{value}\n" for name, value in values.items()}
        self.links[folder] = f"../../../devices/pci0000:64/{address}"
        if group is not None:
            self.links[folder / "iommu_group"] = f"../../../kernel/iommu_groups/{group}"
            self.links[_GROUPS / str(group) / "devices" / address] = f"../../../../devices/{address}"
        if driver is not None:
            self._attach(address, driver)

    def driver(self, address: str) -> str | None:
        """Return the driver that holds a function."""
        link = self.links.get(_DEVICES / address / "driver")
        return None if link is None else PurePosixPath(link).name

    def override(self, address: str) -> str | None:
        """Return the driver_override of a function."""
        text = self.files[_DEVICES / address / "driver_override"].strip()
        return None if text == _NO_OVERRIDE else text

    def write_text(self, path: PurePosixPath, text: str) -> None:
        """Do what the kernel does."""
        self.at_write()
        if path not in self.files:
            raise _refused(errno.ENOENT, path)
        if path.name == "driver_override":
            self.files[path] = f"{text.strip() or _NO_OVERRIDE}\n"
        elif path.parent.parent == _DRIVERS:
            getattr(self, f"_{path.name}")(path.parent.name, text.strip(), path)
        else:
            super().write_text(path, text)
        self.at_write()

    def _bind(self, driver: str, address: str, path: PurePosixPath) -> None:
        override = self.override(address) if _DEVICES / address in self.links else None
        vfio_by_itself = "vfio" in driver and override is None
        if _DEVICES / address not in self.links or override not in (None, driver) or vfio_by_itself:
            raise _refused(errno.ENODEV, path)
        if self.driver(address) is not None:
            raise _refused(errno.EBUSY, path)
        self._attach(address, driver)

    def _unbind(self, driver: str, address: str, path: PurePosixPath) -> None:
        if self.driver(address) != driver:
            raise _refused(errno.ENODEV, path)
        if address in self.stuck:
            raise _refused(errno.EBUSY, path)
        del self.links[_DEVICES / address / "driver"]
        group = self._group(address)
        for number in self.entries(_DEVICES / address / "vfio-dev"):
            del self.files[_DEVICES / address / "vfio-dev" / number / "dev"]
            del self.devices[PurePosixPath("/dev/vfio/devices") / number]
        if group is not None and not any(
            "vfio" in (self.driver(each) or "") for each in self._members(group)
        ):
            self.devices.pop(PurePosixPath("/dev/vfio") / group, None)

    def _attach(self, address: str, driver: str) -> None:
        self.links[_DEVICES / address / "driver"] = f"../../../../bus/pci/drivers/{driver}"
        group = self._group(address)
        if "vfio" in driver and group is not None:
            taken = set(self.entries(PurePosixPath("/dev/vfio/devices")))
            number = next(n for n in range(256) if f"vfio{n}" not in taken)
            self.files[_DEVICES / address / "vfio-dev" / f"vfio{number}" / "dev"] = f"511:{number}\n"
            self.devices[PurePosixPath(f"/dev/vfio/devices/vfio{number}")] = (511, number)
            self.devices[PurePosixPath("/dev/vfio") / group] = (244, int(group))

    def _group(self, address: str) -> str | None:
        link = self.links.get(_DEVICES / address / "iommu_group")
        return None if link is None else PurePosixPath(link).name

    def _members(self, group: str) -> tuple[str, ...]:
        return self.entries(_GROUPS / group / "devices")


def _region(size: int) -> tuple[str, str]:
    """A 64-bit BAR takes two lines; IORESOURCE_MEM, PREFETCH and MEM_64."""
    return f"0x{1 << 40:016x} 0x{(1 << 40) + size - 1:016x} 0x{0x14220C:016x}", " ".join([f"0x{0:016x}"] * 3)


def _refused(number: int, path: PurePosixPath) -> OSError:
    return OSError(number, os.strerror(number), str(path))
