"""NVLink between the GPUs of one claim as a step: a partition of the fabric manager, active while they are held."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from claimwright.driver.errors import StepFailed
from claimwright.driver.ports import FabricManager
from claimwright.driver.steps import Probe, Step

TOOL: Final = "fabric-partition"
_WAS: Final = "was"


def fabric_partition(number: int) -> Step:
    """Have the partition active, until the release brings back what was found."""
    return Step(TOOL, {"partition": number})


class FabricPartitionTool:
    """Activates and deactivates; one that an administrator had activated stays so."""

    name = TOOL
    visible = True
    recorded = True
    refreshes = False
    quick = False

    def __init__(self, fabric: FabricManager | None) -> None:
        self._fabric = fabric

    def found(self, step: Step) -> Mapping[str, Any]:
        """Remember whether it was active."""
        return {_WAS: self._is_active(step)}

    def do(self, step: Step) -> None:
        """Activate it; StepFailed with the fabric manager's word, such as that a GPU is in another one."""
        if not self._is_active(step):
            self._answering().activate(step.arguments["partition"])

    def undo(self, step: Step) -> None:
        """Deactivate it unless it was active before."""
        if not step.arguments.get(_WAS) and self._is_active(step):
            self._answering().deactivate(step.arguments["partition"])

    def probe(self, step: Step) -> Probe:
        """Ask the fabric manager."""
        return Probe.DONE if self._is_active(step) else Probe.NOT_DONE

    def _is_active(self, step: Step) -> bool:
        number = step.arguments["partition"]
        return any(each.number == number and each.active for each in self._answering().partitions())

    def _answering(self) -> FabricManager:
        if self._fabric is None:
            raise StepFailed(
                "the claim's fabric partition cannot be reached: start the driver with the feature gate "
                "FabricManagerPartitioning, on a node whose driver root has libnvfm.so"
            )
        return self._fabric
