"""The device nodes of one partition: those of its GPU, and the capabilities that open the partition.

The minor numbers of the capabilities follow from the instances, which exist only once a claim is prepared; the kernel
module tells them below /proc/driver/nvidia/capabilities. The nodes need not exist on the host: a container's are made
from their numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from claimwright.dra.cdi import ContainerEdits, DeviceNode
from claimwright.driver.edits.book import EditCall, call
from claimwright.driver.edits.gpu_node import GpuNode
from claimwright.driver.edits.installation import Installation
from claimwright.driver.edits.kernel_devices import major_of
from claimwright.driver.errors import StepFailed
from claimwright.driver.inventory import Gpu
from claimwright.driver.ports import Partition, Partitions, Placement
from claimwright.driver.tools.mig_partition import partition_at

NAME: Final = "mig-node"
_CAPABILITIES: Final = PurePosixPath("/proc/driver/nvidia/capabilities")
_MODULE: Final = "nvidia-caps"


def mig_node(gpu: Gpu, placement: Placement) -> EditCall:
    """Name the nodes of the partition at `placement` of `gpu`."""
    return call(
        NAME,
        minor=gpu.minor,
        address=gpu.pci_bus_id,
        uuid=gpu.uuid,
        gpu=gpu.uuid,
        start=placement.start,
        size=placement.size,
    )


@dataclass(frozen=True)
class MigNode:
    """Makes them."""

    installation: Installation
    partitions: Partitions

    def __call__(self, call: EditCall) -> ContainerEdits:
        """Return the nodes; StepFailed when the partition or a capability is not there."""
        found = partition_at(self.partitions, call)
        if found is None or not found.compute_instances:
            raise StepFailed(
                f"GPU {call['uuid']}: no usable partition in memory slices from {call['start']}; "
                "somebody removed it"
            )
        parent = GpuNode(self.installation)(call)
        return parent + ContainerEdits(device_nodes=self._capabilities(int(call["minor"]), found))

    def _capabilities(self, minor: int, partition: Partition) -> tuple[DeviceNode, ...]:
        folder = _CAPABILITIES / f"gpu{minor}" / "mig" / f"gi{partition.gpu_instance}"
        compute = partition.compute_instances[0].compute_instance
        major = self._major()
        return tuple(self._capability(path / "access", major) for path in (folder, folder / f"ci{compute}"))

    def _capability(self, path: PurePosixPath, major: int) -> DeviceNode:
        text = self.installation.host.read_text(path) or ""
        found = re.search(r"^DeviceFileMinor:\s*(\d+)", text, re.MULTILINE)
        if found is None:
            raise StepFailed(f"{path} does not name a device file; is the nvidia kernel module loaded?")
        minor = int(found[1])
        return DeviceNode(
            f"/dev/nvidia-caps/nvidia-cap{minor}", type="c", major=major, minor=minor, file_mode=0o444
        )

    def _major(self) -> int:
        major = major_of(self.installation.host, _MODULE)
        if major is None:
            raise StepFailed(f"/proc/devices has no line for {_MODULE}; is the nvidia kernel module loaded?")
        return major
