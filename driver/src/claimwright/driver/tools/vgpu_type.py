"""A vGPU on a virtual function as a step: the type that is written into `nvidia/current_vgpu_type`, 0 for none.

This is how newer drivers make vGPUs (NVIDIA's vendor-specific VFIO framework); the function stays on their driver. The
file does not say who wrote it: the journal has to, and a type that was there before is never cleared.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from claimwright.driver.errors import StepFailed, StepRefused
from claimwright.driver.inventory import PCI_DEVICES
from claimwright.driver.inventory.vgpus import placement_on, vgpu_type_on
from claimwright.driver.ports import Host
from claimwright.driver.steps import Probe, Step
from claimwright.driver.tools.vgpu_users import VgpuUsers

TOOL: Final = "vgpu-type"
_IN_USE: Final = (errno.EBUSY, errno.EPERM)


def vgpu_type(gpu_uuid: str, function: str, type_id: int, placement: int | None = None) -> Step:
    """Have a vGPU of a type on a virtual function, from slot `placement` on where sizes are mixed."""
    arguments: dict[str, Any] = {"gpu": gpu_uuid, "function": function, "type": type_id}
    return Step(TOOL, arguments if placement is None else {**arguments, "placement": placement})


class VgpuTypeTool:
    """Sets and clears the type of a virtual function."""

    name = TOOL
    visible = True
    recorded = True
    refreshes = False
    quick = False

    def __init__(self, host: Host, users: VgpuUsers) -> None:
        self._host = host
        self._users = users

    def found(self, step: Step) -> Mapping[str, Any]:
        """Return the type that was there before."""
        return {"was": self._current(step) or 0}

    def do(self, step: Step) -> None:
        """Set it; StepRefused when somebody else's vGPU is there, StepFailed when the board has no room for it."""
        current, wanted = self._current(step), step.arguments["type"]
        if current is None:
            raise StepFailed(
                f"virtual function {step.arguments['function']} cannot carry vGPUs: it has no "
                "nvidia/current_vgpu_type; is it on the nvidia driver, and does the vGPU manager run?"
            )
        if step.arguments.get("was") or current not in (0, wanted):
            raise StepRefused(
                f"virtual function {step.arguments['function']} carries a vGPU of type {current}, which this driver "
                "did not make; write 0 into its nvidia/current_vgpu_type to remove it"
            )
        if current == 0:
            self._set(step, wanted)
        self._place(step)

    def undo(self, step: Step) -> None:
        """Clear it; StepFailed while a virtual machine runs on it. A type that is not the step's is not touched."""
        if step.arguments.get("was") or self._current(step) != step.arguments["type"]:
            return
        users = self._users.of_nodes(PCI_DEVICES / str(step.arguments["function"]))
        if users:
            raise StepFailed(self._in_use(step, users))
        try:
            self._host.write_text(self._file(step, "current_vgpu_type"), "0")
        except OSError as error:
            if error.errno in _IN_USE:
                users = self._users.of_type(step.arguments["gpu"], step.arguments["type"])
                raise StepFailed(self._in_use(step, users)) from error
            raise

    def probe(self, step: Step) -> Probe:
        """Read it; the right type in a wrong place is half of it."""
        if self._current(step) != step.arguments["type"]:
            return Probe.NOT_DONE
        wanted = step.arguments.get("placement")
        there = wanted is None or placement_on(self._host, step.arguments["function"]) == wanted
        return Probe.DONE if there else Probe.PARTLY

    def _set(self, step: Step, type_id: int) -> None:
        try:
            self._host.write_text(self._file(step, "current_vgpu_type"), str(type_id))
        except OSError as error:
            listed = self._host.read_text(self._file(step, "creatable_vgpu_types")) or ""
            left = ", ".join(" ".join(line.split()) for line in listed.splitlines()[1:]) or "none"
            raise StepFailed(
                f"virtual function {step.arguments['function']} takes no vGPU of type {type_id} ({error.strerror}): "
                f"the GPU has no room for it beside those that it carries. It could take now: {left}"
            ) from error

    def _place(self, step: Step) -> None:
        wanted = step.arguments.get("placement")
        if wanted is None or placement_on(self._host, step.arguments["function"]) == wanted:
            return
        try:
            self._host.write_text(self._file(step, "placement_id"), str(wanted))
        except OSError as error:
            raise StepFailed(
                f"the vGPU on {step.arguments['function']} cannot be placed at {wanted} ({error.strerror}); "
                "another vGPU may be there"
            ) from error

    def _current(self, step: Step) -> int | None:
        return vgpu_type_on(self._host, step.arguments["function"])

    @staticmethod
    def _in_use(step: Step, users: str) -> str:
        return (
            f"the vGPU on virtual function {step.arguments['function']} is in use by "
            f"{users or 'somebody'}; stop that virtual machine, the release is tried again"
        )

    @staticmethod
    def _file(step: Step, name: str) -> PurePosixPath:
        return PCI_DEVICES / str(step.arguments["function"]) / "nvidia" / name
