"""One partition as a step: a GPU instance at its place, filled by one compute instance."""

from __future__ import annotations

from typing import Any, Final

from claimwright.driver.errors import StepFailed, StepRefused
from claimwright.driver.ports import Partition, Partitions, Placement
from claimwright.driver.steps import Probe, Step
from claimwright.driver.tools.mig_mode import known_mig

TOOL: Final = "mig-partition"


def mig_partition(gpu_uuid: str, profile_id: int, placement: Placement) -> Step:
    """Have a partition of the profile at the place."""
    return Step(
        TOOL, {"gpu": gpu_uuid, "profile": profile_id, "start": placement.start, "size": placement.size}
    )


def made_by(step: Step) -> tuple[str, int, int]:
    """Return GPU uuid, profile id and first memory slice of what the step makes."""
    arguments = step.arguments
    return str(arguments["gpu"]), int(arguments["profile"]), int(arguments["start"])


def partition_at(partitions: Partitions, arguments: Any) -> Partition | None:  # noqa: ANN401  JSON values
    """Find what is at the place that `arguments` name, of whatever profile; StepFailed as `known_mig`."""
    mig = known_mig(partitions, str(arguments["gpu"]))
    wanted = Placement(int(arguments["start"]), int(arguments["size"]))
    return next((each for each in mig.partitions if set(each.placement.slices) & set(wanted.slices)), None)


class MigPartitionTool:
    """Makes and removes partitions; one that somebody else made is never touched."""

    name = TOOL
    visible = True
    # A partition does not say who made it: the journal has to.
    recorded = True
    refreshes = False
    quick = False

    def __init__(self, partitions: Partitions) -> None:
        self._partitions = partitions

    def do(self, step: Step) -> None:
        """Make it; StepRefused when something of somebody else is in the place."""
        with self._partitions.open():
            self._make(step)

    def undo(self, step: Step) -> None:
        """Remove it; StepFailed while a process uses it."""
        with self._partitions.open():
            self._remove(step)

    def probe(self, step: Step) -> Probe:
        """Ask NVML; half of it, left by a crash, counts as not to be told."""
        found = partition_at(self._partitions, step.arguments)
        if found is None or found.profile_id != step.arguments["profile"]:
            return Probe.NOT_DONE
        return Probe.DONE if found.compute_instances else Probe.NOT_VISIBLE

    def _make(self, step: Step) -> None:
        found = partition_at(self._partitions, step.arguments)
        if found is not None:
            raise StepRefused(
                f"GPU {step.arguments['gpu']}: GPU instance {found.gpu_instance} (profile {found.profile_id}), "
                f"which this driver did not make, is in memory slices {found.placement.slices}; remove it with "
                f"nvidia-smi mig -dci -gi {found.gpu_instance} and -dgi, or ask for another device"
            )
        self._partitions.create(step.arguments["gpu"], step.arguments["profile"], self._place(step))

    def _remove(self, step: Step) -> None:
        found = partition_at(self._partitions, step.arguments)
        if found is None:
            return
        if found.profile_id != step.arguments["profile"] or found.placement != self._place(step):
            raise StepFailed(f"{step}: GPU instance {found.gpu_instance} of another shape is in its place")
        self._partitions.destroy(step.arguments["gpu"], found.gpu_instance)

    @staticmethod
    def _place(step: Step) -> Placement:
        return Placement(step.arguments["start"], step.arguments["size"])
