"""Where the driver's files and nodes are on this node, for all who make edits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from claimwright.dra.cdi import DeviceNode
from claimwright.driver.driver_root import DeviceRoot, DriverRoot
from claimwright.driver.edits.kernel_devices import major_of
from claimwright.driver.ports import Host


@dataclass(frozen=True)
class Installation:
    """What the edits are made from. `driver_version` as in file names, `hook` as the host calls it."""

    root: DriverRoot
    devices: DeviceRoot
    host: Host
    driver_version: str
    hook: PurePosixPath | None = None

    def node(self, path: PurePosixPath) -> DeviceNode | None:
        """Return the device node that containers call `path`, None when this node has none."""
        kind = self.devices.files.kind(path)
        if kind is None:
            return None
        host_path = self.devices.host_path(path)
        outside = None if host_path == path else str(host_path)
        if not kind.is_character_device:
            return DeviceNode(str(path), host_path=outside)
        return DeviceNode(str(path), host_path=outside, type="c", major=kind.major, minor=kind.minor)

    def device(self, path: PurePosixPath, minor: int, *modules: str) -> DeviceNode | None:
        """Return the node of a device of one of `modules`, by its numbers where nobody made it; None: not loaded."""
        node = self.node(path)
        if node is not None:
            return node
        major = major_of(self.host, *modules)
        return None if major is None else DeviceNode(str(path), type="c", major=major, minor=minor)
