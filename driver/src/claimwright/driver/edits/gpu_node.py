"""The device nodes of one GPU.

They are looked at before each spec is written: a spec that names a missing node lets the pod start without its
GPU, or not at all with an error far from its cause. The GPU's own node is given by its numbers where the host has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from claimwright.dra.cdi import ContainerEdits, DeviceNode
from claimwright.driver.edits.book import EditCall, call
from claimwright.driver.edits.installation import Installation
from claimwright.driver.errors import StepFailed
from claimwright.driver.inventory import PCI_DEVICES, Gpu

NAME: Final = "gpu-node"
_DISPLAYS: Final = PurePosixPath("/dev/dri")
# How /proc/devices calls them; the second until driver 550.
MODULES: Final = ("nvidia", "nvidia-frontend")


def gpu_node(gpu: Gpu) -> EditCall:
    """Name the nodes of `gpu`."""
    return call(NAME, minor=gpu.minor, address=gpu.pci_bus_id, uuid=gpu.uuid)


@dataclass(frozen=True)
class GpuNode:
    """Makes them."""

    installation: Installation

    def __call__(self, call: EditCall) -> ContainerEdits:
        """Return the GPU's own node and its display nodes; StepFailed when the kernel has none for it."""
        minor = int(call["minor"])
        path = PurePosixPath(f"/dev/nvidia{minor}")
        node = self.installation.device(path, minor, *MODULES)
        if node is None:
            raise StepFailed(
                f"device node {self.installation.devices.host_path(path)} of gpu-{minor} ({call['uuid']}) does not "
                "exist, and /proc/devices has no line for nvidia: no container could open the GPU. Load the kernel "
                f"module, for example with `nvidia-modprobe -c {minor}`; the kubelet tries again."
            )
        return ContainerEdits(device_nodes=(node, *self._display_nodes(str(call["address"]))))

    def _display_nodes(self, address: str) -> Iterator[DeviceNode]:
        if self.installation.devices.files.kind(_DISPLAYS) is None:
            return  # a machine without any, as most servers are
        for name in self.installation.host.entries(PCI_DEVICES / address / "drm"):
            node = self.installation.node(_DISPLAYS / name)
            if node is not None and name.startswith(("card", "renderD")):
                yield node
