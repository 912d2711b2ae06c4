"""The MIG mode of a GPU as a step, on boards that switch it without a reset."""

from __future__ import annotations

from typing import Final

from claimwright.driver.errors import StepFailed
from claimwright.driver.ports import MigReading, Partitions
from claimwright.driver.steps import Probe, Step

TOOL: Final = "mig-mode"


def mig_mode(gpu_uuid: str, *, enabled: bool) -> Step:
    """Have the GPU in MIG mode, or out of it."""
    return Step(TOOL, {"gpu": gpu_uuid, "enabled": enabled})


def known_mig(partitions: Partitions, gpu_uuid: str) -> MigReading:
    """Read a GPU that a step has cut or switched; StepFailed when NVML knows nothing of MIG on it.

    No GPU loses the ability: who took that for an answer would leave a partition behind and forget it.
    """
    found = partitions.read(gpu_uuid)
    if found is None:
        raise StepFailed(
            f"GPU {gpu_uuid}: NVML says that it is not capable of MIG, which it was; the kubelet tries again"
        )
    return found


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
            mig = known_mig(self._partitions, step.arguments["gpu"])
            if mig.enabled and not mig.partitions:
                self._partitions.switch(step.arguments["gpu"], enabled=False)

    def probe(self, step: Step) -> Probe:
        """Ask NVML."""
        mig = known_mig(self._partitions, step.arguments["gpu"])
        return Probe.DONE if mig.enabled is step.arguments["enabled"] else Probe.NOT_DONE
