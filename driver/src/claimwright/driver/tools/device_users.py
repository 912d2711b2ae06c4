"""Who keeps a device from changing its driver, by name: those that have its nodes open, and those that NVML knows.

A driver's remove() waits until the last user is gone, with no deadline; whoever takes a device away looks first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from claimwright.driver.inventory import PCI_DEVICES
from claimwright.driver.ports import FileKind, GpuClient, Host, Usage

_PROC: Final = PurePosixPath("/proc")
_NVIDIA_GPUS: Final = PurePosixPath("/proc/driver/nvidia/gpus")
_SHOWN: Final = 5


@dataclass(frozen=True)
class DeviceUsers:
    """Looks at the open files of all the host's processes but this one, and asks NVML."""

    host: Host
    usage: Usage

    def of_gpu(self, address: str) -> tuple[str, ...]:
        """Name the processes that use a GPU through NVIDIA's driver."""
        minor = self._minor(address)
        nodes = [] if minor is None else [PurePosixPath(f"/dev/nvidia{minor}")]
        return self._named((*self._openers(nodes), *self.usage.clients(address)))

    def aside(self) -> AbstractContextManager[None]:
        """Keep this process from being a user itself."""
        return self.usage.aside()

    def of_vfio(self, address: str, group: str | None) -> tuple[str, ...]:
        """Name the processes, virtual machines mostly, that have a function's VFIO nodes open."""
        return self.of_vfio_device(PCI_DEVICES / address, group)

    def of_vfio_device(self, folder: PurePosixPath, group: str | None) -> tuple[str, ...]:
        """Name them for any device with a VFIO driver, mediated ones as well, by its folder in sysfs."""
        names = self.host.entries(folder / "vfio-dev")
        nodes = [PurePosixPath("/dev/vfio/devices") / name for name in names]
        if group is not None:
            nodes.append(PurePosixPath("/dev/vfio") / group)
        return self._named(self._openers(nodes))

    def _minor(self, address: str) -> int | None:
        text = self.host.read_text(_NVIDIA_GPUS / address / "information") or ""
        found = re.search(r"^Device Minor:\s*(\d+)", text, re.MULTILINE)
        return int(found[1]) if found else None

    def _openers(self, nodes: Iterable[PurePosixPath]) -> Iterator[GpuClient]:
        wanted = {kind for node in nodes if (kind := self.host.kind(node)) and kind.is_character_device}
        if not wanted:
            return
        ourselves = self.host.read_link(_PROC / "self")
        for pid in self.host.entries(_PROC):
            if pid.isdecimal() and pid != ourselves and self._has_open(_PROC / pid / "fd", wanted):
                yield GpuClient(int(pid))

    def _has_open(self, folder: PurePosixPath, wanted: set[FileKind]) -> bool:
        # By numbers, since a container may call the node anything; files that are no devices are not looked at.
        return any(
            link.startswith("/dev/") and self.host.kind(folder / name) in wanted
            for name, link in self.host.links_in(folder)
        )

    def _named(self, clients: Iterable[GpuClient]) -> tuple[str, ...]:
        found: dict[int, str] = {}
        for client in clients:
            name = client.name or self.host.read_text(_PROC / str(client.pid) / "comm")
            found[client.pid] = found.get(client.pid) or name or ""
        return tuple(
            f"process {pid} ({name})" if name else f"process {pid}" for pid, name in sorted(found.items())
        )


def listing(users: tuple[str, ...]) -> str:
    """Spell some users for an error."""
    more = f" and {len(users) - _SHOWN} more" if len(users) > _SHOWN else ""
    return ", ".join(users[:_SHOWN]) + more
