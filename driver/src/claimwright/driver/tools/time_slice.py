"""The time-slice setting of whole GPUs, applied by nvidia-smi and undone at release.

Hardware reports neither the interval nor who set it, so the journal is the only witness: only GPUs that this
driver configured are reset.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from claimwright.driver.errors import StepRefused
from claimwright.driver.steps import Probe, Step
from claimwright.driver.strategies import INTERVALS
from claimwright.driver.tools.nvidia_smi import NotAvailable, NvidiaSmi

TOOL: Final = "time-slice"


def time_slice(uuid: str, interval: str) -> Step:
    """Set the interval of one GPU, by its name in the config."""
    return Step(TOOL, {"uuid": uuid, "interval": INTERVALS[interval]})


class TimeSliceTool:
    """Runs `nvidia-smi -c DEFAULT` and `nvidia-smi compute-policy --set-timeslice`."""

    name = TOOL
    visible = False
    recorded = True
    refreshes = False
    quick = False

    def __init__(self, nvidia_smi: NvidiaSmi) -> None:
        self._nvidia_smi = nvidia_smi

    def do(self, step: Step) -> None:
        """Set compute mode and interval of the GPU; StepFailed with what nvidia-smi said.

        StepRefused where the GPU has no time slices: there is nothing to go back to, and going back would fail too.
        """
        try:
            self._set(str(step.arguments["uuid"]), int(step.arguments["interval"]))
        except NotAvailable as error:
            raise StepRefused(str(error)) from error

    def undo(self, step: Step) -> None:
        """Set the default interval again."""
        with suppress(NotAvailable):
            self._set(str(step.arguments["uuid"]), INTERVALS["Default"])

    def probe(self, step: Step) -> Probe:  # noqa: ARG002  the shape of a tool
        """Say that the hardware does not show it."""
        return Probe.NOT_VISIBLE

    def _set(self, uuid: str, interval: int) -> None:
        self._nvidia_smi("-i", uuid, "-c", "DEFAULT")
        self._nvidia_smi("compute-policy", "-i", uuid, "--set-timeslice", str(interval))
