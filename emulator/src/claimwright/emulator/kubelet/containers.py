"""The state of one container, as a value that can be rebuilt from the pod's status.

The stand-in keeps no container state of its own on disk: what it wrote to the API is what it finds there
after a restart, as a kubelet finds its containers in the runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from claimwright.emulator.kubelet.clock import parse_timestamp
from claimwright.emulator.kubelet.pods import JsonObject, Pod


@dataclass(frozen=True)
class Waiting:
    """Not started (again) yet; `reason` is what `kubectl get pods` shows."""

    reason: str
    message: str = ""


@dataclass(frozen=True)
class Running:
    """Started and not ended."""

    since: datetime


@dataclass(frozen=True)
class Terminated:
    """Ended; exit code 0 is success."""

    since: datetime
    until: datetime
    exit_code: int
    reason: str


@dataclass(frozen=True)
class ContainerRecord:
    """One container: its state, the one before, and how often it was started again."""

    name: str
    state: Waiting | Running | Terminated
    last: Terminated | None = None
    restarts: int = 0
    starts: int = 0

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return isinstance(self.state, Running)

    def started(self, now: datetime) -> ContainerRecord:
        """Return the record after a start; a start after an end counts as a restart."""
        ended = self.state if isinstance(self.state, Terminated) else None
        return replace(
            self,
            state=Running(now),
            last=ended or self.last,
            restarts=self.restarts + (1 if ended else 0),
            starts=self.starts + 1,
        )

    def ended(self, now: datetime, exit_code: int) -> ContainerRecord:
        """Return the record after the end of a running container."""
        assert isinstance(self.state, Running), f"container {self.name} does not run"
        reason = "Completed" if exit_code == 0 else "Error"
        return replace(self, state=Terminated(self.state.since, now, exit_code, reason))

    def waiting(self, reason: str, message: str = "") -> ContainerRecord:
        """Return the record of a container that could not be started yet."""
        return replace(self, state=Waiting(reason, message))


Records = Mapping[str, ContainerRecord]


def restore_records(pod: Pod) -> dict[str, ContainerRecord]:
    """Rebuild every container's record from the pod's status; what is not there waits."""
    status = pod.raw.get("status", {})
    entries = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    known = {entry["name"]: entry for entry in entries}
    reason = "PodInitializing" if len(pod.containers) > 1 else "ContainerCreating"
    fresh = Waiting(reason)
    return {
        container.name: _record(container.name, known.get(container.name), fresh)
        for container in pod.containers
    }


def _record(name: str, status: JsonObject | None, fresh: Waiting) -> ContainerRecord:
    if status is None:
        return ContainerRecord(name, fresh)
    restarts = int(status.get("restartCount", 0))
    last = (status.get("lastState") or {}).get("terminated")
    state = _state(status.get("state") or {}, fresh)
    return ContainerRecord(
        name,
        state,
        _terminated(last) if last else None,
        restarts,
        starts=restarts + (0 if state == fresh else 1),
    )


def _state(state: JsonObject, fresh: Waiting) -> Waiting | Running | Terminated:
    if running := state.get("running"):
        return Running(parse_timestamp(running["startedAt"]))
    if terminated := state.get("terminated"):
        return _terminated(terminated)
    return fresh


def _terminated(entry: JsonObject) -> Terminated:
    return Terminated(
        since=parse_timestamp(entry["startedAt"]),
        until=parse_timestamp(entry["finishedAt"]),
        exit_code=int(entry.get("exitCode", 0)),
        reason=entry.get("reason", "Completed"),
    )
