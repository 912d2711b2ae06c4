"""One MPS control daemon as a step: its folders, its shared memory, its process, its limits."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Final

from claimwright.driver.errors import ClaimRefused, StepFailed
from claimwright.driver.mps.daemon import MpsDaemons
from claimwright.driver.mps.limits import pinned_limits
from claimwright.driver.mps.place import Place, places
from claimwright.driver.ports import Host, Mounts, Partitions
from claimwright.driver.steps import Probe, Step
from claimwright.driver.tools.mig_partition import partition_at

logger = logging.getLogger(__name__)
TOOL: Final = "mps-daemon"
_MEMORY: Final = PurePosixPath("/proc/meminfo")
_SHM_KIBIBYTES: Final = 65536


def mps_daemon(group: str, devices: Sequence[Mapping[str, Any]], limits: Mapping[str, Any]) -> Step:
    """Have a daemon with `limits` for `devices`: `{"gpu": uuid}`, or with `start` and `size` a partition of one."""
    return Step(TOOL, {"group": group, "devices": [dict(each) for each in devices], **limits})


def group_of(step: Step) -> str | None:
    """Return whose daemon the step makes, None when it makes none."""
    return str(step.arguments["group"]) if step.tool == TOOL else None


class MpsDaemonTool:
    """Starts and ends daemons in folders below `daemons`; takes over nothing that it cannot prove to be its own."""

    name = TOOL
    visible = True
    recorded = False
    refreshes = False
    quick = False

    def __init__(
        self, daemons: Path, runner: MpsDaemons, mounts: Mounts, host: Host, partitions: Partitions
    ) -> None:
        self._daemons = daemons
        self._runner = runner
        self._mounts = mounts
        self._host = host
        self._partitions = partitions

    def do(self, step: Step) -> None:
        """Start it anew and set its limits; StepFailed with the daemon's own words."""
        place = self.place(step)
        uuids = [self._uuid(device) for device in step.arguments["devices"]]
        self._make_folders(place)
        self._runner.end(place)
        place.forget()
        process = self._runner.start(place, uuids, many_users=bool(step.arguments["many_users"]))
        self._limit(place, step, uuids)
        place.remember(process)

    def undo(self, step: Step) -> None:
        """End it and remove all that it had."""
        self._remove(self.place(step))

    def probe(self, step: Step) -> Probe:
        """Look for the folder, and for the process by pid and start time."""
        place = self.place(step)
        if not place.folder.exists():
            return Probe.NOT_DONE
        return Probe.DONE if self._runner.is_alive(place) else Probe.PARTLY

    def place(self, step: Step) -> Place:
        """Return where the step's daemon is."""
        return Place(self._daemons, str(step.arguments["group"]))

    def sweep(self, known: Collection[str | None]) -> None:
        """Remove own groups that are not `known`: of claims that a lost journal or another boot held."""
        for place in places(self._daemons):
            if place.group not in known and place.is_own:
                logger.info("removing the MPS control daemon of an unknown claim: %s", place.folder)
                with suppress(StepFailed, OSError):
                    self._remove(place)

    def _make_folders(self, place: Place) -> None:
        place.make()
        if self._mounts.possible:
            self._mounts.tmpfs(place.shm, kibibytes=self._shm_kibibytes())

    def _remove(self, place: Place) -> None:
        self._runner.end(place)
        self._mounts.unmount(place.shm)
        shutil.rmtree(place.folder, ignore_errors=True)
        if place.folder.exists():
            raise StepFailed(f"{place.folder} cannot be removed: something in it is used or protected")
        with suppress(OSError):
            self._daemons.rmdir()

    def _shm_kibibytes(self) -> int:
        """Return half of the memory, as a tmpfs has by default, and as the community driver says it."""
        text = self._host.read_text(_MEMORY) or ""
        line = next((line for line in text.splitlines() if line.startswith("MemTotal:")), "")
        amounts = [int(word) for word in line.split() if word.isdecimal()]
        return amounts[0] // 2 if amounts else _SHM_KIBIBYTES

    def _limit(self, place: Place, step: Step, uuids: Sequence[str]) -> None:
        try:
            limits = pinned_limits(step.arguments, uuids)
        except ClaimRefused as error:
            raise StepFailed(str(error)) from error
        percentage = step.arguments["percentage"]
        commands = [
            f"set_default_device_pinned_mem_limit {uuid} {size}M" for uuid, size in sorted(limits.items())
        ]
        if percentage is not None:
            commands.append(f"set_default_active_thread_percentage {percentage}")
        if not commands:
            return
        answers = self._runner.ask(place, *commands)
        refusals = [line for line in answers if "invalid" in line.lower() or "error" in line.lower()]
        if refusals:
            raise StepFailed(
                f"the MPS control daemon of {place.group} refused a limit: {'; '.join(refusals)}"
            )

    def _uuid(self, device: Mapping[str, Any]) -> str:
        if "start" not in device:
            return str(device["gpu"])
        found = partition_at(self._partitions, device)
        if found is None or not found.compute_instances:
            raise StepFailed(
                f"GPU {device['gpu']}: no usable partition in memory slices from {device['start']}"
            )
        return found.compute_instances[0].uuid
