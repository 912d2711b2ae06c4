"""Follows pods and their claims, and notes when each step was first seen, on one monotonic clock.

Two watches bring the events, so one may be some milliseconds ahead of the other; a step that was seen
before its predecessor counts as seen with it, and phases are never negative.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from claimwright.dra.kube import PODS, RESOURCE_CLAIMS, Kube, Reflector
from claimwright.reports.errors import TargetError

Step = Literal["claim", "allocated", "scheduled", "sandbox", "running", "failed", "gone"]
Phases = tuple[tuple[str, Step], ...]
# each phase with the step that ends it; it begins where the one before ended
UNTIL_SCHEDULED: Phases = (
    ("create_to_claim", "claim"),
    ("claim_to_allocated", "allocated"),
    ("allocated_to_scheduled", "scheduled"),
)
WITH_SANDBOX: Phases = (("scheduled_to_sandbox", "sandbox"), ("sandbox_to_running", "running"))
# for kubelets that show PodReadyToStartContainers never, or together with Running
WITHOUT_SANDBOX: Phases = (("scheduled_to_running", "running"),)


class PodWatch:
    """What was seen of the pods of one namespace."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._changed = threading.Condition()
        self._steps: dict[str, dict[Step, int]] = {}
        self._pods = Reflector(kube, PODS, namespace=namespace, on_change=self._pod)
        self._claims = Reflector(kube, RESOURCE_CLAIMS, namespace=namespace, on_change=self._claim)

    def __enter__(self) -> Self:
        for reflector in (self._pods, self._claims):
            reflector.start()
            if not reflector.synced.wait(10):
                self.__exit__()
                raise TargetError(
                    f"cannot watch pods and claims: {reflector.error or 'no answer within 10 s'}"
                )
        return self

    def __exit__(self, *_: object) -> None:
        self._pods.stop()
        self._claims.stop()

    def steps(self, pod: str) -> Mapping[Step, int]:
        """Give the instants (CLOCK_MONOTONIC, ns) at which this pod's steps were first seen."""
        with self._changed:
            return dict(self._steps.get(pod, {}))

    def wait(self, pods: Iterable[str], steps: set[Step], until: float) -> bool:
        """Wait until each pod has come to one of the steps; False after `until` (monotonic seconds)."""
        names = list(pods)

        def reached() -> bool:
            return all(steps & self._steps.get(name, {}).keys() for name in names)

        with self._changed:
            return self._changed.wait_for(reached, timeout=max(0.0, until - time.monotonic()))

    def claims_left(self, owners: Iterable[str]) -> int:
        """Count the claims of these pods that are still in the API."""
        wanted = set(owners)
        return sum(_owner(claim) in wanted for claim in self._claims.items().values())

    def _pod(self, kind: str, pod: dict[str, Any]) -> None:
        at = time.monotonic_ns()
        steps: set[Step] = {"gone"} if kind == "DELETED" else set(pod_steps(pod))
        self._see(pod["metadata"]["name"], steps, at)

    def _claim(self, kind: str, claim: dict[str, Any]) -> None:
        at = time.monotonic_ns()
        owner = _owner(claim)
        if owner is None or kind == "DELETED":
            return
        allocated = bool((claim.get("status") or {}).get("allocation"))
        self._see(owner, {"claim", "allocated"} if allocated else {"claim"}, at)

    def _see(self, pod: str, steps: set[Step], at: int) -> None:
        with self._changed:
            seen = self._steps.setdefault(pod, {})
            for step in steps:
                seen.setdefault(step, at)
            self._changed.notify_all()


def pod_steps(pod: Mapping[str, Any]) -> Iterable[Step]:
    """Tell the steps that a Pod object shows."""
    status = pod.get("status") or {}
    if (pod.get("spec") or {}).get("nodeName"):
        yield "scheduled"
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodReadyToStartContainers" and condition["status"] == "True":
            yield "sandbox"
    match status.get("phase"):
        case "Running":
            yield "running"
        case "Failed" | "Succeeded":  # a measured pod has no reason to end by itself
            yield "failed"


def phases(steps: Mapping[Step, int], due_ns: int) -> list[tuple[str, int, int]]:
    """Cut a pod's way into phases (name, start, end), as far as it came."""
    never = due_ns - 1
    sandbox, running = steps.get("sandbox", never), steps.get("running")
    told = sandbox != never and (running is None or sandbox < running)
    cut: list[tuple[str, int, int]] = []
    at = due_ns
    for phase, end in UNTIL_SCHEDULED + (WITH_SANDBOX if told else WITHOUT_SANDBOX):
        if end not in steps:
            break
        ended = max(at, steps[end])
        cut.append((phase, at, ended))
        at = ended
    return cut


def _owner(claim: Mapping[str, Any]) -> str | None:
    owners = claim["metadata"].get("ownerReferences") or ()
    return next((owner["name"] for owner in owners if owner["kind"] == "Pod"), None)
