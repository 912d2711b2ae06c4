"""What happens next to the containers of a pod: a pure decision over their plans, states and the time.

Order and restarts follow the Kubernetes documentation of init containers, sidecar containers and restart
policies; the flow that carries a decision out is `worker.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from claimwright.emulator.kubelet.containers import ContainerRecord, Records, Running, Terminated
from claimwright.emulator.kubelet.plans import ContainerPlan
from claimwright.emulator.kubelet.pods import ContainerKind, ContainerSpec, Pod
from claimwright.emulator.kubelet.timings import Timings, growing


@dataclass(frozen=True)
class Decision:
    """What to do now, and when to ask again.

    `exits`: containers whose program has ended, with its code. `starts`: containers to start now.
    `backing_off`: ended containers that start again later. `wake_at`: when the answer changes by itself.
    `finished`: no container will start any more; the pod is over.
    """

    exits: tuple[tuple[str, int], ...] = ()
    starts: tuple[str, ...] = ()
    backing_off: frozenset[str] = frozenset()
    wake_at: datetime | None = None
    finished: bool = False
    initialized: bool = False

    @property
    def nothing_to_do(self) -> bool:
        """Whether only time or an event can bring the pod further."""
        return not self.exits and not self.starts


@dataclass
class _Walk:
    """A walk over the containers at one moment, and what it has found so far."""

    records: Records
    now: datetime
    timings: Timings
    starts: list[str]
    backing_off: set[str]
    wakes: list[datetime]


def decide(
    pod: Pod, plans: Mapping[str, ContainerPlan], records: Records, *, now: datetime, timings: Timings
) -> Decision:
    """Decide the next step of a pod that is admitted, prepared and not being deleted."""
    if exits := _due_exits(plans, records, now):
        return Decision(exits=exits)
    walk = _Walk(records, now, timings, [], set(), _planned_ends(plans, records))
    initialized = _initialize(pod, walk)
    if not initialized and _init_failed(pod, records):
        return Decision(finished=True)
    if initialized:
        for container in _of_kind(pod, ContainerKind.REGULAR):
            _keep(container, pod.restart_policy, walk)
    return Decision(
        starts=tuple(walk.starts),
        backing_off=frozenset(walk.backing_off),
        wake_at=min(walk.wakes, default=None),
        finished=initialized and _over(pod, records),
        initialized=initialized,
    )


def phase_of(pod: Pod, records: Records, decision: Decision) -> str:
    """Return the pod phase that these containers amount to."""
    regular = [records[container.name].state for container in _of_kind(pod, ContainerKind.REGULAR)]
    if decision.finished:
        done = all(isinstance(state, Terminated) and state.exit_code == 0 for state in regular)
        return "Succeeded" if done else "Failed"
    begun = any(isinstance(state, (Running, Terminated)) for state in regular)
    return "Running" if decision.initialized and begun else "Pending"


def _due_exits(
    plans: Mapping[str, ContainerPlan], records: Records, now: datetime
) -> tuple[tuple[str, int], ...]:
    due = []
    for name, record in records.items():
        end = _planned_end(plans[name], record)
        if end is not None and end <= now:
            due.append((name, plans[name].exit_code))
    return tuple(due)


def _planned_ends(plans: Mapping[str, ContainerPlan], records: Records) -> list[datetime]:
    ends = (_planned_end(plans[name], record) for name, record in records.items())
    return [end for end in ends if end is not None]


def _planned_end(plan: ContainerPlan, record: ContainerRecord) -> datetime | None:
    if not isinstance(record.state, Running) or plan.run_seconds is None:
        return None
    return record.state.since + timedelta(seconds=plan.run_seconds)


def _initialize(pod: Pod, walk: _Walk) -> bool:
    """Walk the init containers in order; tell whether the regular ones may run."""
    # A restarted regular container does not send the pod back to its init containers; a sidecar is kept up.
    begun = any(walk.records[container.name].starts for container in _of_kind(pod, ContainerKind.REGULAR))
    for container in pod.containers:
        record = walk.records[container.name]
        if container.kind is ContainerKind.SIDECAR:
            _keep(container, "Always", walk)
            if not record.starts:
                return False
        elif container.kind is ContainerKind.INIT and not begun and not _succeeded(record):
            _keep(container, "Never" if pod.restart_policy == "Never" else "OnFailure", walk)
            return False
    return True


def _keep(container: ContainerSpec, policy: str, walk: _Walk) -> None:
    """Start the container, or start it again when policy and back-off say so."""
    record = walk.records[container.name]
    state = record.state
    if isinstance(state, Running):
        return
    if isinstance(state, Terminated):
        if not _restarts(policy, state):
            return
        ready = state.until + timedelta(seconds=_restart_delay(record, state, walk.timings))
        if ready > walk.now:
            walk.backing_off.add(container.name)
            walk.wakes.append(ready)
            return
    walk.starts.append(container.name)


def _restarts(policy: str, state: Terminated) -> bool:
    return policy == "Always" or (policy == "OnFailure" and state.exit_code != 0)


def _restart_delay(record: ContainerRecord, state: Terminated, timings: Timings) -> float:
    # The first restart is immediate, the next ones wait 10 s, 20 s, … 5 min; a long run forgives the past.
    ran = (state.until - state.since).total_seconds()
    if record.restarts == 0 or ran >= timings.restart_forget:
        return 0.0
    return growing(timings.restart_start, timings.restart_cap, record.restarts - 1)


def _init_failed(pod: Pod, records: Records) -> bool:
    if pod.restart_policy != "Never":
        return False
    states = (records[container.name].state for container in _of_kind(pod, ContainerKind.INIT))
    return any(isinstance(state, Terminated) and state.exit_code != 0 for state in states)


def _over(pod: Pod, records: Records) -> bool:
    states = (records[container.name].state for container in _of_kind(pod, ContainerKind.REGULAR))
    return all(isinstance(state, Terminated) and not _restarts(pod.restart_policy, state) for state in states)


def _succeeded(record: ContainerRecord) -> bool:
    return isinstance(record.state, Terminated) and record.state.exit_code == 0


def _of_kind(pod: Pod, kind: ContainerKind) -> list[ContainerSpec]:
    return [container for container in pod.containers if container.kind is kind]
