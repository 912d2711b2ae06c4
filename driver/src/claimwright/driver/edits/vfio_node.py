"""The device nodes that hand one GPU to a virtual machine, by the kernel's older interface or the newer one.

The older one gives an IOMMU group (/dev/vfio/<group>) through a container (/dev/vfio/vfio), the newer one, IOMMUFD, the
device itself (/dev/vfio/devices/vfio<N>) through /dev/iommu. The nodes exist once the GPU is on its VFIO driver.
`NVIDIA_VISIBLE_DEVICES=void` keeps a runtime hook from adding GPUs of its own. All belongs to the CDI device and not to
the whole spec: containers of other requests of the same claim must not get it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from claimwright.dra.cdi import ContainerEdits, DeviceNode
from claimwright.driver.edits.book import EditCall, call
from claimwright.driver.errors import StepFailed
from claimwright.driver.inventory import PCI_DEVICES
from claimwright.driver.ports import Host

NAME: Final = "vfio-node"
_VFIO: Final = PurePosixPath("/dev/vfio")
_IOMMU: Final = PurePosixPath("/dev/iommu")


def vfio_node(address: str, *, prefer_iommufd: bool, api_device: bool) -> EditCall:
    """Name the nodes of the GPU at `address`; `api_device` adds what opens the interface itself."""
    return call(NAME, address=address, iommufd=prefer_iommufd, api=api_device)


@dataclass(frozen=True)
class VfioNode:
    """Makes them."""

    host: Host

    def __call__(self, call: EditCall) -> ContainerEdits:
        """Return the nodes; StepFailed when one is not there."""
        address = str(call["address"])
        return vfio_edits(self.host, PCI_DEVICES / address, call, f"GPU {address}")


def vfio_edits(host: Host, folder: PurePosixPath, call: EditCall, what: str) -> ContainerEdits:
    """Return the nodes of the device with this sysfs folder, called `what` in errors.

    Who prefers IOMMUFD gets the older interface where the kernel, or this device's driver, has no IOMMUFD.
    """
    cdev = _cdev(host, folder) if call["iommufd"] and host.kind(_IOMMU) is not None else None
    paths = [_group(host, folder, what) if cdev is None else cdev]
    if call["api"]:
        paths.insert(0, _VFIO / "vfio" if cdev is None else _IOMMU)
    nodes = tuple(_node(host, path, what) for path in paths)
    return ContainerEdits(env=("NVIDIA_VISIBLE_DEVICES=void",), device_nodes=nodes)


def _cdev(host: Host, folder: PurePosixPath) -> PurePosixPath | None:
    names = host.entries(folder / "vfio-dev")
    return _VFIO / "devices" / names[0] if names else None


def _group(host: Host, folder: PurePosixPath, what: str) -> PurePosixPath:
    link = host.read_link(folder / "iommu_group")
    if link is None:
        raise StepFailed(f"{what} is in no IOMMU group; is the IOMMU enabled in the kernel?")
    return _VFIO / link.rpartition("/")[2]


def _node(host: Host, path: PurePosixPath, what: str) -> DeviceNode:
    kind = host.kind(path)
    if kind is None or not kind.is_character_device:
        raise StepFailed(
            f"device node {path} of {what} does not exist: no virtual machine could open it. Are the kernel modules "
            "that make it loaded (vfio_pci, or nvidia_vgpu_vfio for vGPUs), and does the driver see the host's /dev?"
        )
    return DeviceNode(str(path), type="c", major=kind.major, minor=kind.minor)
