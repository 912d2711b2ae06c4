"""The device nodes that hand one vGPU to a virtual machine, whichever framework carries it.

A mediated device has an IOMMU group of its own; a virtual function has its own as well, and stays on NVIDIA's driver,
which is a VFIO driver for it. Both are opened as a GPU on vfio-pci is (`vfio_node.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from claimwright.dra.cdi import ContainerEdits
from claimwright.driver.edits.book import EditCall, call
from claimwright.driver.edits.vfio_node import vfio_edits
from claimwright.driver.ports import Host

NAME: Final = "vgpu-node"


def vgpu_node(folder: PurePosixPath, *, prefer_iommufd: bool, api_device: bool) -> EditCall:
    """Name the nodes of the device with this sysfs folder; `api_device` adds what opens the interface itself."""
    return call(NAME, folder=str(folder), iommufd=prefer_iommufd, api=api_device)


@dataclass(frozen=True)
class VgpuNode:
    """Makes them."""

    host: Host

    def __call__(self, call: EditCall) -> ContainerEdits:
        """Return the nodes; StepFailed when one is not there."""
        folder = PurePosixPath(call["folder"])
        return vfio_edits(self.host, folder, call, f"vGPU {folder.name}")
