"""A mediated device as a step: a vGPU of boards and drivers that make one from a UUID.

The UUID follows from claim and device, so that a second try finds what the first has made, and nobody else's device can
have it: unlike a partition, a mediated device says by its name whose it is.
"""

from __future__ import annotations

import errno
import uuid
from typing import Final

from claimwright.driver.errors import StepFailed, StepRefused
from claimwright.driver.inventory import PCI_DEVICES
from claimwright.driver.inventory.vgpus import MDEV_DEVICES, existing_vgpus, mdev_type_of
from claimwright.driver.ports import Host
from claimwright.driver.steps import Probe, Step
from claimwright.driver.tools.vgpu_users import VgpuUsers

TOOL: Final = "mdev"
_NAMES: Final = uuid.UUID(
    "c3f0b1c2-6f0e-4f59-8f4b-5f6f0d1a7a11"
)  # a namespace of our own (RFC 9562, version 5)


def mdev(gpu_uuid: str, parent: str, type_id: int, name: str) -> Step:
    """Have the mediated device `name` (a UUID) of a type on the GPU at PCI address `parent`."""
    return Step(TOOL, {"gpu": gpu_uuid, "parent": parent, "type": type_id, "uuid": name})


def mdev_uuid(cdi_name: str) -> str:
    """Return the UUID for one result of a claim, by its CDI device, whose name holds claim, device and share."""
    return str(uuid.uuid5(_NAMES, cdi_name))


class MdevTool:
    """Makes and removes mediated devices (Documentation/driver-api/vfio-mediated-device)."""

    name = TOOL
    visible = True
    recorded = False
    refreshes = False
    quick = False

    def __init__(self, host: Host, users: VgpuUsers) -> None:
        self._host = host
        self._users = users

    def do(self, step: Step) -> None:
        """Make it; StepFailed when the board has no room for it, StepRefused when the name is taken elsewhere."""
        if self._is_elsewhere(step):
            raise StepRefused(f"mediated device {step.arguments['uuid']} exists with another type or parent")
        if self.probe(step) is Probe.PARTLY:
            self._remove(step)
        if self.probe(step) is not Probe.DONE:
            self._create(step)

    def undo(self, step: Step) -> None:
        """Remove it; StepFailed while a virtual machine runs on it."""
        if mdev_type_of(self._host, step.arguments["uuid"]) is None or self._is_elsewhere(step):
            return
        self._remove(step)

    def probe(self, step: Step) -> Probe:
        """Look for it; one without a driver, and so without an IOMMU group, is half of it."""
        if mdev_type_of(self._host, step.arguments["uuid"]) != self._wanted(step):
            return Probe.NOT_DONE
        group = self._host.read_link(MDEV_DEVICES / step.arguments["uuid"] / "iommu_group")
        return Probe.DONE if group else Probe.PARTLY

    def _create(self, step: Step) -> None:
        parent, type_id = self._wanted(step)
        folder = PCI_DEVICES / parent / "mdev_supported_types" / f"nvidia-{type_id}"
        try:
            self._host.write_text(folder / "create", step.arguments["uuid"])
        except FileNotFoundError as error:
            raise StepFailed(
                f"GPU {parent} offers no mediated devices of type {type_id}; does the vGPU manager run?"
            ) from error
        except OSError as error:
            raise StepFailed(
                f"GPU {parent} takes no vGPU of type {type_id} ({error.strerror}): it has no room for it beside those "
                f"that it carries: {self._carried(parent)}"
            ) from error

    def _remove(self, step: Step) -> None:
        name = str(step.arguments["uuid"])
        users = self._users.of_mdev(step.arguments["gpu"], name) or self._users.of_nodes(MDEV_DEVICES / name)
        if users:
            raise StepFailed(self._in_use(name, users))
        try:
            self._host.write_text(MDEV_DEVICES / name / "remove", "1")
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno == errno.ENODEV:
                return
            raise StepFailed(self._in_use(name, users or str(error.strerror))) from error

    def _is_elsewhere(self, step: Step) -> bool:
        found = mdev_type_of(self._host, step.arguments["uuid"])
        return found is not None and found != self._wanted(step)

    def _carried(self, parent: str) -> str:
        found = existing_vgpus(self._host, parent, on_functions=False)
        return ", ".join(f"{each.carrier} (type {each.type_id})" for each in found) or "none"

    @staticmethod
    def _wanted(step: Step) -> tuple[str, int]:
        return str(step.arguments["parent"]), int(step.arguments["type"])

    @staticmethod
    def _in_use(name: str, users: str) -> str:
        return f"mediated device {name} is in use by {users}; stop that virtual machine, the release is tried again"
