"""The MIG mode of a GPU as a step, on boards that switch it without a reset."""

from __future__ import annotations

from typing import Final

from claimwright.driver.ports import Partitions
from claimwright.driver.steps import Probe, Step

TOOL: Final = "mig-mode"


def mig_mode(gpu_uuid: str, *, enabled: bool) -> Step:
    """Have the GPU in MIG mode, or out of it."""
    return Step(TOOL, {"gpu": gpu_uuid, "enabled": enabled})


class MigModeTool:
    """Switches the mode; switches it off again when the last partition is gone."""

    name = TOOL
    visible = True
    recorded = False
    refreshes = False
    quick = False

    def __init__(self, partitions: Partitions) -> None:
        self._partitions = partitions

    def do(self, step: Step) -> None:
        """Switch unless it is so; StepFailed when a client uses the GPU."""
        with self._partitions.open():
            if self.probe(step) is not Probe.DONE:
                self._partitions.switch(step.arguments["gpu"], enabled=step.arguments["enabled"])

    def undo(self, step: Step) -> None:
        """Leave MIG mode when no partition is left, whoever made it."""
        if not step.arguments["enabled"]:
            return
        with self._partitions.open():
            mig = self._partitions.read(step.arguments["gpu"])
            if mig is not None and mig.enabled and not mig.partitions:
                self._partitions.switch(step.arguments["gpu"], enabled=False)

    def probe(self, step: Step) -> Probe:
        """Ask NVML."""
        mig = self._partitions.read(step.arguments["gpu"])
        enabled = mig is not None and mig.enabled
        return Probe.DONE if enabled is step.arguments["enabled"] else Probe.NOT_DONE
