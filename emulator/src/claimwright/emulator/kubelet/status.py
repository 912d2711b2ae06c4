"""Build the status that a kubelet would write for a pod; a pure function of what the stand-in knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from claimwright.emulator.kubelet.clock import timestamp
from claimwright.emulator.kubelet.containers import ContainerRecord, Records, Running, Terminated, Waiting
from claimwright.emulator.kubelet.lifecycle import Decision, phase_of
from claimwright.emulator.kubelet.pods import ContainerKind, ContainerSpec, JsonObject, Pod


@dataclass(frozen=True)
class PodFacts:
    """What the status says beside the containers: addresses, when the node took the pod, device health."""

    host_ip: str
    started_at: datetime
    pod_ip: str | None = None
    health: Mapping[str, Sequence[JsonObject]] = field(default_factory=dict)


def build_status(
    pod: Pod, records: Records, decision: Decision, facts: PodFacts, *, now: datetime, over: bool = False
) -> JsonObject:
    """Return the parts of `pod.status` that a node owns, ready for a strategic merge patch.

    `over` marks a pod whose end is certain (finished or deleted) although a decision may not say so.
    """
    final = Decision(finished=True, initialized=decision.initialized) if over else decision
    status: JsonObject = {
        "phase": phase_of(pod, records, final),
        "conditions": _conditions(pod, records, final, facts, now),
        "hostIP": facts.host_ip,
        "hostIPs": [{"ip": facts.host_ip}],
        "startTime": timestamp(facts.started_at),
        "initContainerStatuses": _statuses(pod, records, final, facts, regular=False),
        "containerStatuses": _statuses(pod, records, final, facts, regular=True),
    }
    if generation := pod.raw["metadata"].get("generation"):
        status["observedGeneration"] = generation
    if facts.pod_ip:
        status |= {"podIP": facts.pod_ip, "podIPs": [{"ip": facts.pod_ip}]}
    return status


def rejected_status(pod: Pod, reason: str, message: str, now: datetime) -> JsonObject:
    """Return the status of a pod that admission refused."""
    return {
        "phase": "Failed",
        "reason": reason,
        "message": f"Pod was rejected: {message}",
        "startTime": pod.raw.get("status", {}).get("startTime") or timestamp(now),
    }


def _conditions(
    pod: Pod, records: Records, decision: Decision, facts: PodFacts, now: datetime
) -> list[JsonObject]:
    regular = [c for c in pod.containers if c.kind is ContainerKind.REGULAR]
    unready = [c.name for c in regular if not records[c.name].running]
    completed = phase_of(pod, records, decision) == "Succeeded"
    reason = "PodCompleted" if completed else "ContainersNotReady"
    message = "" if completed else f"containers with unready status: [{' '.join(unready)}]"
    initialized = decision.initialized or completed
    values = {
        "PodReadyToStartContainers": (facts.pod_ip is not None and not decision.finished, "", ""),
        "Initialized": (initialized, "ContainersNotInitialized", "containers with incomplete status"),
        "ContainersReady": (not unready, reason, message),
        "Ready": (not unready, reason, message),
    }
    # PodScheduled is written at binding; a pod bound by hand gets it from its node, as from a kubelet.
    values["PodScheduled"] = (True, "", "")
    return [_condition(pod, kind, value, now) for kind, value in values.items()]


def _condition(pod: Pod, kind: str, value: tuple[bool, str, str], now: datetime) -> JsonObject:
    holds, reason, message = value
    status = "True" if holds else "False"
    before = _previous(pod, kind)
    condition: JsonObject = {
        "type": kind,
        "status": status,
        "lastTransitionTime": before["lastTransitionTime"]
        if before.get("status") == status
        else timestamp(now),
    }
    for key, text in (("reason", reason), ("message", message)):
        if text and not holds:
            condition[key] = text
        elif before.get(key):
            condition[key] = None  # a merge patch keeps what it does not name
    return condition


def _previous(pod: Pod, kind: str) -> JsonObject:
    conditions: list[JsonObject] = pod.raw.get("status", {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == kind and c.get("lastTransitionTime")), {})


def _statuses(
    pod: Pod, records: Records, decision: Decision, facts: PodFacts, *, regular: bool
) -> list[JsonObject]:
    chosen = [c for c in pod.containers if (c.kind is ContainerKind.REGULAR) == regular]
    return [_container_status(pod, c, records[c.name], decision, facts) for c in chosen]


def _container_status(
    pod: Pod, container: ContainerSpec, record: ContainerRecord, decision: Decision, facts: PodFacts
) -> JsonObject:
    identity = f"claimwright://{pod.reference.uid}/{container.name}/{record.starts}"
    state: Waiting | Running | Terminated = record.state
    last = record.last
    if container.name in decision.backing_off and isinstance(state, Terminated):
        last = state
        state = Waiting("CrashLoopBackOff", "back-off before the container is started again")
    status: JsonObject = {
        "name": container.name,
        "image": container.image,
        "imageID": "",
        "ready": _ready(container, record),
        "started": record.running,
        "restartCount": record.restarts,
        "state": _state(state, identity),
        "lastState": _state(last, identity) if last else {},
    }
    if record.starts:
        status["containerID"] = identity
    # Only regular containers report device health in kubelets up to 1.37.
    if container.kind is ContainerKind.REGULAR and facts.health.get(container.name):
        status["allocatedResourcesStatus"] = list(facts.health[container.name])
    return status


def _ready(container: ContainerSpec, record: ContainerRecord) -> bool:
    if container.kind is ContainerKind.INIT:
        return isinstance(record.state, Terminated) and record.state.exit_code == 0
    return record.running


def _state(state: Waiting | Running | Terminated, identity: str) -> JsonObject:
    match state:
        case Waiting(reason, message):
            return {"waiting": {"reason": reason} | ({"message": message} if message else {})}
        case Running(since):
            return {"running": {"startedAt": timestamp(since)}}
        case Terminated(since, until, exit_code, reason):
            times = {"startedAt": timestamp(since), "finishedAt": timestamp(until)}
            return {"terminated": {"exitCode": exit_code, "reason": reason, "containerID": identity} | times}
