"""The programs of a driver installation, as far as steps run them: nvidia-smi and the MPS control daemon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from claimwright.driver.ports import Finished, ProcessId, View
from claimwright.driver.testing.processes import ScriptedProcesses

Value = TypeVar("Value")
_CONTROL: Final = "nvidia-cuda-mps-control"


class GpuPrograms(ScriptedProcesses):
    """Keeps time slices and compute modes that are not the default, and MPS daemons with their commands.

    `silent` daemons start and never listen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.time_slices: dict[str, int] = {}
        self.compute_modes: dict[str, str] = {}
        self.limits: dict[ProcessId, list[str]] = {}
        self.silent = False

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        timeout_seconds: float,
        text: str = "",
        view: View | None = None,
        stays: bool = False,
    ) -> Finished:
        """Answer at once."""
        said = super().run(
            command,
            environment=environment,
            timeout_seconds=timeout_seconds,
            text=text,
            view=view,
            stays=stays,
        )
        if said.status != 0:
            return said
        if PurePosixPath(command[0]).name == _CONTROL:
            pipe = _folder(environment["CUDA_MPS_PIPE_DIRECTORY"], view)
            return self._start(pipe, environment) if "-d" in command else self._ask(pipe, text)
        if "--set-timeslice" in command:
            _keep(self.time_slices, command[command.index("-i") + 1], int(command[-1]), 0)
        if "-c" in command:
            _keep(self.compute_modes, command[command.index("-i") + 1], command[-1], "DEFAULT")
        if "--query-gpu=compute_mode" in command:
            mode = self.compute_modes.get(command[command.index("-i") + 1], "DEFAULT")
            return Finished(0, f"{mode.title()}\n")
        return said

    def end(self, process: ProcessId) -> None:
        """End a process; its limits go with it."""
        super().end(process)
        self.limits.pop(process, None)

    def _start(self, pipe: Path, environment: Mapping[str, str]) -> Finished:
        process = self.begin(environment)
        self.limits[process] = []
        (pipe / "nvidia-cuda-mps-control.pid").write_text(f"{process.pid}\n")
        if not self.silent:
            (pipe / "control").touch()
        return Finished(0, "")

    def _ask(self, pipe: Path, text: str) -> Finished:
        known = (pipe / "nvidia-cuda-mps-control.pid").read_text() if (pipe / "control").exists() else "0"
        process = self.find(int(known))
        if process is None:
            return Finished(1, "Cannot find MPS control daemon process\n")
        if text == "quit\n":
            self.end(process)
        else:
            self.limits[process] += [line for line in text.splitlines() if line.startswith("set_")]
        return Finished(0, "")


def _folder(inside: str, view: View | None) -> Path:
    found = None if view is None else view.binds.get(PurePosixPath(inside))
    return Path(inside) if found is None else found


def _keep(settings: dict[str, Value], key: str, value: Value, default: Value) -> None:
    settings[key] = value
    if value == default:
        del settings[key]
