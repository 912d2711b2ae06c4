"""Persistence mode as a step: it keeps a GPU up, and NVIDIA's driver on it, while nobody uses the GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from claimwright.driver.ports import Usage
from claimwright.driver.steps import Probe, Step

TOOL: Final = "persistence-off"
_WAS: Final = "was"


def persistence_off(address: str) -> Step:
    """Have persistence mode off, until the release brings back what was found."""
    return Step(TOOL, {"gpu": address})


class PersistenceTool:
    """Switches it off where it is on; a GPU that NVML does not see has none."""

    name = TOOL
    visible = True
    recorded = True
    refreshes = False
    quick = False

    def __init__(self, usage: Usage) -> None:
        self._usage = usage

    def found(self, step: Step) -> Mapping[str, Any]:
        """Remember the mode."""
        return {_WAS: bool(self._usage.persistence(step.arguments["gpu"]))}

    def adopted(self, step: Step) -> Mapping[str, Any]:  # noqa: ARG002  the same for each GPU
        """Say that it was on: the community driver always switches it on at a release."""
        return {_WAS: True}

    def do(self, step: Step) -> None:
        """Switch it off; StepFailed with NVML's word."""
        if self.probe(step) is not Probe.DONE:
            self._usage.set_persistence(step.arguments["gpu"], enabled=False)

    def undo(self, step: Step) -> None:
        """Switch it on again where it was on, and where NVML sees the GPU."""
        gpu = step.arguments["gpu"]
        if step.arguments.get(_WAS) and self._usage.persistence(gpu) is False:
            self._usage.set_persistence(gpu, enabled=True)

    def probe(self, step: Step) -> Probe:
        """Ask NVML."""
        return Probe.NOT_DONE if self._usage.persistence(step.arguments["gpu"]) else Probe.DONE
