"""The time-slice setting of whole GPUs, applied by nvidia-smi and undone at release.

Hardware reports neither the interval nor who set it, so the journal is the only witness: only GPUs that this
driver configured are reset.
"""

from __future__ import annotations

import os
from typing import Final

from claimwright.driver.driver_root import PROGRAM_FOLDERS, DriverRoot
from claimwright.driver.errors import StepFailed
from claimwright.driver.ports import Processes
from claimwright.driver.steps import Probe, Step
from claimwright.driver.strategies import INTERVALS

TOOL: Final = "time-slice"
_TIMEOUT_SECONDS = 10.0


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

    def __init__(self, root: DriverRoot, processes: Processes) -> None:
        self._root = root
        self._processes = processes

    def do(self, step: Step) -> None:
        """Set compute mode and interval of the GPU; StepFailed with what nvidia-smi said."""
        self._set(str(step.arguments["uuid"]), int(step.arguments["interval"]))

    def undo(self, step: Step) -> None:
        """Set the default interval again."""
        self._set(str(step.arguments["uuid"]), INTERVALS["Default"])

    def probe(self, step: Step) -> Probe:  # noqa: ARG002  the shape of a tool
        """Say that the hardware does not show it."""
        return Probe.NOT_VISIBLE

    def _set(self, uuid: str, interval: int) -> None:
        self._nvidia_smi("-i", uuid, "-c", "DEFAULT")
        self._nvidia_smi("compute-policy", "-i", uuid, "--set-timeslice", str(interval))

    def _nvidia_smi(self, *arguments: str) -> None:
        program = self._root.program("nvidia-smi")
        if program is None:
            searched = ", ".join(str(folder) for folder in PROGRAM_FOLDERS)
            raise StepFailed(
                f"nvidia-smi not found under driver root {self._root.readable}; searched {searched}"
            )
        command = (str(program.readable), *arguments)
        # nvidia-smi opens NVML by its short name, which the loader of a pod does not find by itself.
        preload = f"{self._root.nvml_library().readable}:{os.environ.get('LD_PRELOAD', '')}".rstrip(":")
        ended = self._processes.run(
            command, environment={"LD_PRELOAD": preload}, timeout_seconds=_TIMEOUT_SECONDS
        )
        if ended.status != 0:
            raise StepFailed(f"{' '.join(command)} ended with status {ended.status}: {ended.output.strip()}")
