"""Who keeps a vGPU from being removed, by name: NVML knows the virtual machines, the kernel who has the nodes open."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from claimwright.driver.ports import RunningVgpu, Vgpus
from claimwright.driver.tools.device_users import DeviceUsers, listing


@dataclass(frozen=True)
class VgpuUsers:
    """Answers in words for an error; nothing when nobody is known."""

    vgpus: Vgpus
    users: DeviceUsers

    def of_mdev(self, gpu_uuid: str, name: str) -> str:
        """Name the machine that runs on a mediated device."""
        return _named(each for each in self.vgpus.running(gpu_uuid) if each.mdev == name)

    def of_type(self, gpu_uuid: str, type_id: int) -> str:
        """Name the machines with a vGPU of a type; NVML does not tell on which virtual function."""
        return _named(each for each in self.vgpus.running(gpu_uuid) if each.type_id == type_id)

    def of_nodes(self, folder: PurePosixPath) -> str:
        """Name the processes that have the nodes of a vGPU open, by its folder in sysfs."""
        link = self.users.host.read_link(folder / "iommu_group")
        group = None if link is None else PurePosixPath(link).name
        return listing(self.users.of_vfio_device(folder, group))


def _named(running: Iterable[RunningVgpu]) -> str:
    return " or ".join(f"virtual machine {each.machine}" for each in running)
