"""The compute mode of whole GPUs: while a control daemon runs, only its servers may use them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from claimwright.driver.steps import Probe, Step
from claimwright.driver.tools.nvidia_smi import NvidiaSmi

TOOL: Final = "compute-mode"
EXCLUSIVE: Final = "EXCLUSIVE_PROCESS"
_DEFAULT: Final = "DEFAULT"
_KNOWN: Final = frozenset({_DEFAULT, EXCLUSIVE, "PROHIBITED"})


def exclusive_process(uuid: str) -> Step:
    """Let one process at a time use the GPU."""
    return Step(TOOL, {"uuid": uuid, "mode": EXCLUSIVE})


class ComputeModeTool:
    """Runs `nvidia-smi -c`; goes back to the mode that it found."""

    name = TOOL
    visible = True
    recorded = True
    refreshes = False
    quick = False

    def __init__(self, nvidia_smi: NvidiaSmi) -> None:
        self._nvidia_smi = nvidia_smi

    def found(self, step: Step) -> Mapping[str, str]:
        """Remember the mode of before."""
        return {"before": self._mode(step)}

    def do(self, step: Step) -> None:
        """Set the mode; StepFailed with what nvidia-smi said."""
        self._set(step, str(step.arguments["mode"]))

    def undo(self, step: Step) -> None:
        """Set the mode of before, unless somebody has changed it since."""
        if self.probe(step) is Probe.DONE:
            self._set(step, str(step.arguments.get("before", _DEFAULT)))

    def probe(self, step: Step) -> Probe:
        """Ask nvidia-smi."""
        return Probe.DONE if self._mode(step) == step.arguments["mode"] else Probe.NOT_DONE

    def _set(self, step: Step, mode: str) -> None:
        self._nvidia_smi("-i", str(step.arguments["uuid"]), "-c", mode)

    def _mode(self, step: Step) -> str:
        said = self._nvidia_smi(
            "-i", str(step.arguments["uuid"]), "--query-gpu=compute_mode", "--format=csv,noheader"
        )
        mode = said.upper()
        return mode if mode in _KNOWN else _DEFAULT
