"""nvidia-smi, run with the driver installation's own library."""

from __future__ import annotations

import os
from typing import Final

from claimwright.driver.driver_root import PROGRAM_FOLDERS, DriverRoot
from claimwright.driver.errors import GpuGone, StepFailed
from claimwright.driver.ports import Processes

_TIMEOUT_SECONDS: Final = 10.0
# nvidia-smi(1), "Return value".
_NOT_AVAILABLE: Final = 3
_GONE: Final = frozenset({6, 15})


class NotAvailable(StepFailed):
    """This GPU has no such setting."""


class NvidiaSmi:
    """Sets what NVML's bindings do not, and asks for it."""

    def __init__(self, root: DriverRoot, processes: Processes) -> None:
        self._root = root
        self._processes = processes

    def __call__(self, *arguments: str) -> str:
        """Run it and return what it says; StepFailed with that when it ends with an error.

        NotAvailable and GpuGone, which are StepFailed too, where its status says so.
        """
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
            kind = NotAvailable if ended.status == _NOT_AVAILABLE else StepFailed
            kind = GpuGone if ended.status in _GONE else kind
            raise kind(f"{' '.join(command)} ended with status {ended.status}: {ended.output.strip()}")
        return ended.output.strip()
