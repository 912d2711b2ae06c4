"""GPUs that host vGPUs, in memory: the files of both frameworks, which answer writes, and NVML's view of machines."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import PurePosixPath
from typing import Final

from claimwright.driver.ports import RunningVgpu, VgpuPlace, VgpuReading, VgpuType
from claimwright.driver.testing.host import MemoryHost

_PCI: Final = PurePosixPath("/sys/bus/pci/devices")
_MDEV: Final = PurePosixPath("/sys/bus/mdev/devices")
_GROUPS: Final = PurePosixPath("/sys/kernel/iommu_groups")
_VFIO: Final = PurePosixPath("/dev/vfio")
_FIRST_GROUP: Final = 100
_NOWHERE: Final = 0xFFFFFFFF


def vgpu_types(*, mixed: bool = False, first: int = 300, most: int = 4) -> VgpuReading:
    """Return types of a board as NVML lists them: `most` of 4 GiB, half as many of 8 GiB, in two series each."""
    types = []
    for number, (series, gib) in enumerate((s, g) for s in ("C", "Q") for g in (4, 8)):
        count = most * 4 // gib
        places = tuple(VgpuPlace(at * most // count, most // count) for at in range(count))
        types.append(
            VgpuType(
                type_id=first + number,
                name=f"X1-{gib}{series}",
                class_name="Compute" if series == "C" else "Quadro",
                framebuffer_bytes=gib << 30,
                most=count,
                display_heads=4 if series == "Q" else 1,
                resolution=(7680, 4320),
                frame_rate_limit=60 if series == "Q" else None,
                license="NVIDIA-vComputeServer,9.0;NVIDIA-Virtual-DWS,5.0",
                places=places if mixed else (),
            )
        )
    return VgpuReading(on_functions=True, mixed_sizes=mixed, types=tuple(types))


class MemoryVgpus:
    """The port `Vgpus`, and hosts' files on a MemoryHost; `machines` are those that run, by what carries their vGPU."""

    def __init__(self, host: MemoryHost) -> None:
        self.machines: dict[str, RunningVgpu] = {}
        self._host = host
        self._types: dict[str, VgpuReading] = {}

    def running(self, gpu_uuid: str) -> tuple[RunningVgpu, ...]:  # noqa: ARG002  one node, few machines
        """Return all machines."""
        return tuple(self.machines.values())

    def host_mdevs(self, address: str, reading: VgpuReading) -> None:
        """Let a GPU carry mediated devices."""
        self._types[address] = reading
        for kind in reading.types:
            folder = self._type_folder(address, kind.type_id)
            self._host.files[folder / "device_api"] = "vfio-pci\n"
            self._on(folder / "create", partial(self._create, address, kind.type_id))

    def host_functions(self, address: str, reading: VgpuReading, total: int = 8) -> None:
        """Let a GPU have virtual functions that carry vGPUs."""
        self._types[address] = reading
        for name, value in (("totalvfs", total), ("offset", 4), ("stride", 1)):
            self._host.files[_PCI / address / f"sriov_{name}"] = f"{value}\n"
        self._on(_PCI / address / "sriov_numvfs", partial(self._set_functions, address), "0\n")

    def carried(self) -> dict[str, int]:
        """Return the types of all vGPUs by what carries them."""
        mediated = {path.name: int(target.rpartition("-")[2]) for path, target in self._mediated()}
        virtual = {
            path.parent.parent.name: int(text)
            for path, text in self._host.files.items()
            if path.name == "current_vgpu_type" and int(text)
        }
        return mediated | virtual

    def _create(self, address: str, type_id: int, name: str) -> None:
        if _MDEV / name in self._host.links:
            raise _refused(errno.EEXIST)
        kind = self._require_room(address, type_id, errno.EUSERS)
        folder, group = _MDEV / name, self._free_group()
        self._host.links |= {
            folder: f"../../../devices/pci0000:00/{address}/{name}",
            folder / "mdev_type": f"../mdev_supported_types/nvidia-{kind.type_id}",
            folder / "iommu_group": f"../../../../kernel/iommu_groups/{group}",
            self._type_folder(address, type_id) / "devices" / name: f"../../../{name}",
            _GROUPS / str(group) / "devices" / name: "",
        }
        self._host.devices[_VFIO / str(group)] = (241, group)
        self._on(folder / "remove", partial(self._remove, name))

    def _remove(self, name: str, _: str) -> None:
        if name in self.machines:
            raise AssertionError("this write would wait for the machine, for ever")
        group = int(self._host.links[_MDEV / name / "iommu_group"].rpartition("/")[2])
        self._host.forget(lambda path: name in path.parts)
        del self._host.devices[_VFIO / str(group)]

    def _set_functions(self, address: str, text: str) -> None:
        now, wanted = int(self._host.files[_PCI / address / "sriov_numvfs"]), int(text)
        if now and wanted:
            raise _refused(errno.EBUSY)
        self._host.files[_PCI / address / "sriov_numvfs"] = f"{wanted}\n"
        for number in range(now or wanted):
            function = _function(address, number)
            self._appear(function) if wanted else self._vanish(function)

    def _appear(self, function: str) -> None:
        folder, group = _PCI / function, self._free_group()
        self._host.links |= {
            folder / "driver": "../../../../bus/pci/drivers/nvidia",
            folder / "iommu_group": f"../../../../kernel/iommu_groups/{group}",
            _GROUPS / str(group) / "devices" / function: "",
        }
        self._host.devices[_VFIO / str(group)] = (241, group)
        self._on(folder / "nvidia" / "current_vgpu_type", partial(self._assign, function), "0\n")
        self._on(folder / "nvidia" / "placement_id", partial(self._move, function), f"{_NOWHERE}\n")

    def _vanish(self, function: str) -> None:
        group = int(self._host.links[_PCI / function / "iommu_group"].rpartition("/")[2])
        self._host.forget(lambda path: function in path.parts)
        del self._host.devices[_VFIO / str(group)]

    def _assign(self, function: str, text: str) -> None:
        file, wanted = _PCI / function / "nvidia" / "current_vgpu_type", int(text)
        if not wanted and function in self.machines:
            raise _refused(errno.EBUSY)
        if wanted and int(self._host.files[file]):
            raise _refused(errno.EINVAL)
        if wanted:
            address = next(
                each for each in self._types if each.rpartition(":")[0] == function.rpartition(":")[0]
            )
            self._require_room(address, wanted, errno.EINVAL)
        self._host.files[file] = f"{wanted}\n"
        self._host.files[file.parent / "placement_id"] = f"{0 if wanted else _NOWHERE}\n"

    def _move(self, function: str, text: str) -> None:
        self._host.files[_PCI / function / "nvidia" / "placement_id"] = f"{int(text)}\n"

    def _require_room(self, address: str, type_id: int, number: int) -> VgpuType:
        reading = self._types[address]
        sizes = {each.type_id: each.framebuffer_bytes for each in reading.types}
        kind = next(each for each in reading.types if each.type_id == type_id)
        beside = [sizes[each] for each in self.carried().values() if each in sizes]
        alike = reading.mixed_sizes or all(size == kind.framebuffer_bytes for size in beside)
        if not alike or (not reading.mixed_sizes and len(beside) >= kind.most):
            raise _refused(number)
        return kind

    def _mediated(self) -> Iterable[tuple[PurePosixPath, str]]:
        return [
            (path.parent, target) for path, target in self._host.links.items() if path.name == "mdev_type"
        ]

    def _free_group(self) -> int:
        taken = {int(name) for name in self._host.entries(_GROUPS)}
        return next(number for number in range(_FIRST_GROUP, 1000) if number not in taken)

    def _type_folder(self, address: str, type_id: int) -> PurePosixPath:
        return _PCI / address / "mdev_supported_types" / f"nvidia-{type_id}"

    def _on(self, path: PurePosixPath, store: Callable[[str], None], text: str = "") -> None:
        self._host.files[path] = text
        self._host.on_write(path, store)


def _function(address: str, number: int) -> str:
    return f"{address.rpartition(':')[0]}:{(4 + number) >> 3:02x}.{(4 + number) & 7:x}"


def _refused(number: int) -> OSError:
    return OSError(number, os.strerror(number))
