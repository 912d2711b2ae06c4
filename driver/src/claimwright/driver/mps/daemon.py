"""One control daemon: started, asked, ended. All calls block, with deadlines.

The daemon sees the group's shared memory as /dev/shm, and its pipe folder at a short path that every user can reach: it
starts servers as the users of its clients, and /var/lib/kubelet is closed to them. Both need root; without, the daemon
has the folders by their own paths.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from claimwright.driver.driver_root import PROGRAM_FOLDERS, DriverRoot
from claimwright.driver.errors import StepFailed
from claimwright.driver.mps.place import MARK, Place
from claimwright.driver.ports import Finished, Mounts, Processes, ProcessId, View

PROGRAM: Final = "nvidia-cuda-mps-control"
_START_SECONDS: Final = 20.0
_ANSWER_SECONDS: Final = 5.0
_END_SECONDS: Final = 3.0
_LOG_BYTES: Final = 600
# Exists in every root file system, is in nobody's way, and short.
_SCRATCH: Final = PurePosixPath("/mnt")


@dataclass(frozen=True)
class MpsDaemons:
    """Starts and ends the daemons of this node."""

    root: DriverRoot
    processes: Processes
    mounts: Mounts

    def start(self, place: Place, uuids: Sequence[str], *, many_users: bool) -> ProcessId:
        """Start the daemon and wait until it answers; StepFailed with its log when it does not."""
        command = ("-d", "-M") if many_users else ("-d",)
        ended = self._run(place, command, visible=",".join(uuids), mark=True, timeout_seconds=_START_SECONDS)
        if ended.status != 0:
            raise StepFailed(
                f"{PROGRAM} {' '.join(command)} ended with status {ended.status}: {_end_of(ended.output, place)}"
            )
        self._wait_until_it_answers(place)
        found = None if place.daemon_pid is None else self.processes.find(place.daemon_pid)
        if found is None or found not in self._of(place):
            raise StepFailed(f"{PROGRAM} answers, but {place.pipe} does not say which process it is")
        return found

    def ask(self, place: Place, *commands: str) -> tuple[str, ...]:
        """Give commands to the daemon and return the lines of its answer; StepFailed when it does not take them."""
        ended = self._run(place, (), text="".join(f"{each}\n" for each in commands))
        if ended.status != 0:
            raise StepFailed(
                f"the MPS control daemon of {place.group} does not answer: {_end_of(ended.output, place)}"
            )
        return tuple(ended.output.splitlines())

    def is_alive(self, place: Place) -> bool:
        """Tell whether the daemon that was made ready lives."""
        known = place.remembered()
        return known is not None and self.processes.find(known.pid) == known

    def end(self, place: Place) -> None:
        """End the daemon, its servers and a start that was cut off; StepFailed when something survives."""
        if self.is_alive(place):
            self._quit(place)
        deadline = time.monotonic() + _ANSWER_SECONDS
        # Again and again: what is being killed may have been forking.
        while left := self._of(place):
            if time.monotonic() > deadline:
                raise StepFailed(
                    f"processes {', '.join(str(each.pid) for each in left)} of {place.group} survive"
                )
            for process in left:
                self.processes.send(process, signal.SIGKILL)
            self.processes.wait_ended(left, timeout_seconds=_END_SECONDS)
        self.processes.tidy()

    def _quit(self, place: Place) -> None:
        try:
            self.ask(place, "quit")
        except StepFailed:
            return  # it is killed then
        self.processes.wait_ended(self._of(place), timeout_seconds=_END_SECONDS)

    def _of(self, place: Place) -> tuple[ProcessId, ...]:
        return self.processes.marked(MARK, str(place.folder))

    def _wait_until_it_answers(self, place: Place) -> None:
        deadline = time.monotonic() + _START_SECONDS
        left, problem = _START_SECONDS, "its socket did not appear"
        while left > 0:
            if not self.processes.wait_file(place.control, made_by=self._of(place), timeout_seconds=left):
                break
            try:
                self.ask(place, "get_server_list")
            except StepFailed as error:
                problem = str(error)  # a socket exists before somebody listens on it
                self.processes.wait_ended(self._of(place), timeout_seconds=0.02)
            else:
                return
            left = deadline - time.monotonic()
        state = "lives" if self._of(place) else "ended"
        raise StepFailed(
            f"the MPS control daemon of {place.group} {state} and does not answer: {_end_of(problem, place)}"
        )

    def _run(
        self,
        place: Place,
        arguments: Sequence[str],
        *,
        text: str = "",
        visible: str = "",
        mark: bool = False,
        timeout_seconds: float = _ANSWER_SECONDS,
    ) -> Finished:
        view = self._view(place)
        environment = {
            **self._environment(place, view),
            **({"CUDA_VISIBLE_DEVICES": visible} if visible else {}),
        }
        if mark:
            environment[MARK] = str(place.folder)
        return self.processes.run(
            (self._program(view), *arguments),
            environment=environment,
            timeout_seconds=timeout_seconds,
            text=text,
            view=view,
            stays=mark,
        )

    def _program(self, view: View | None) -> str:
        found = self.root.program(PROGRAM)
        if found is None:
            searched = ", ".join(str(folder) for folder in PROGRAM_FOLDERS)
            raise StepFailed(
                f"{PROGRAM} not found under driver root {self.root.readable}; searched {searched}"
            )
        inside = view is not None and view.root != Path("/")
        return str(found.inside if inside else found.readable)

    def _view(self, place: Place) -> View | None:
        if not self.mounts.possible:
            return None
        root = self._own_root()
        binds = {PurePosixPath("/dev/shm"): place.shm}  # noqa: S108  as the program calls it
        if not (root / _SCRATCH.relative_to("/")).is_dir():
            return View(binds, None, root)
        return View({**binds, _SCRATCH / "pipe": place.pipe, _SCRATCH / "log": place.log}, _SCRATCH, root)

    def _own_root(self) -> Path:
        """Return the installation where it is a whole root file system: its programs need its libraries."""
        whole = (self.root.readable / "bin/sh").exists()
        return self.root.readable if whole else Path("/")

    def _environment(self, place: Place, view: View | None) -> Mapping[str, str]:
        short = view is not None and view.scratch is not None
        found = self.root.program(PROGRAM)
        environment = {
            "CUDA_MPS_PIPE_DIRECTORY": str(_SCRATCH / "pipe" if short else place.pipe),
            "CUDA_MPS_LOG_DIRECTORY": str(_SCRATCH / "log" if short else place.log),
        }
        inside = view is not None and view.root != Path("/")
        if inside or self.root.readable == Path("/") or found is None:
            return environment
        # An installation beside the system: its server and libraries are found there.
        libraries = str(self.root.nvml_library().readable.parent)
        return {**environment, "PATH": f"{found.readable.parent}:/usr/bin:/bin", "LD_LIBRARY_PATH": libraries}


def _end_of(said: str, place: Place) -> str:
    """Join what a program said with the end of the daemon's log."""
    try:
        log = (place.log / "control.log").read_bytes()[-_LOG_BYTES:].decode(errors="replace").strip()
    except OSError:
        log = ""
    return (
        "; ".join(part for part in (said.strip(), log and f"its log ends with: {log}") if part) or "no word"
    )
