"""L-START: waves of pods that fill the free devices, each pod due at a fixed instant."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter

from claimwright.dra.kube import PODS, RESOURCE_CLAIM_TEMPLATES, SERVICE_ACCOUNTS, Forbidden, Kube, NotFound
from claimwright.reports.errors import TargetError
from claimwright.reports.measuring.manifests import PodTemplate
from claimwright.reports.measuring.options import Kubelet, PodShape
from claimwright.reports.measuring.pod_watch import PodWatch, phases
from claimwright.reports.measuring.progress import Progress
from claimwright.reports.measuring.recorder import Recorder
from claimwright.reports.measuring.stage import LABEL, wait_until
from claimwright.reports.measuring.target import Target
from claimwright.reports.samples import OK

WORKLOAD = "pod-start/v1"
GONE_SECONDS = 60.0
ACCOUNT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Starts:
    """The flow of one run: where pods go, what they are, who notes what."""

    target: Target
    namespace: str
    template: PodTemplate
    shape: PodShape
    kubelet: Kubelet
    label: str
    recorder: Recorder
    progress: Progress

    def run(self, *, wave: int) -> None:
        """Start a primer that is not counted, then all pods, `wave` (the free devices) at a time."""
        kube = self.target.kube
        for template in self.template.claim_templates:
            metadata = {"name": template["metadata"]["name"], "namespace": self.namespace}
            kube.create(RESOURCE_CLAIM_TEMPLATES, {"metadata": metadata, "spec": template["spec"]})
        with PodWatch(kube, self.namespace) as watch:
            self._primer(watch)
            for number, first in enumerate(range(0, self.shape.pods, wave)):
                names = [f"pod-{index:05d}" for index in range(first, min(first + wave, self.shape.pods))]
                with self.recorder.repetition_of(number):
                    self._wave(watch, names)
                self.progress.say(f"pods: {first + len(names)} of {self.shape.pods} started")
                self._remove(watch, names)

    def _primer(self, watch: PodWatch) -> None:
        _wait_for_account(self.target.kube, self.namespace)
        self._wave(watch, ["primer"])
        steps = watch.steps("primer")
        self.recorder.discard()
        if "running" not in steps:
            seen = ", ".join(step for step, _ in sorted(steps.items(), key=itemgetter(1))) or "nothing"
            raise TargetError(
                f"the first pod did not run within {self.shape.start_timeout_seconds:.0f} s (seen of "
                f"it: {seen}). "
                f"See why with `kubectl describe pod primer -n {self.namespace}`: the kubelet of node "
                f"{self.target.node!r}, its image {self.shape.image!r}, or the driver's prepare"
            )
        self._remove(watch, ["primer"])

    def _wave(self, watch: PodWatch, names: Sequence[str]) -> None:
        due = self._create(names)
        until = time.monotonic() + self.shape.start_timeout_seconds
        watch.wait(names, {"running", "failed", "gone"}, until)
        for name in names:
            self._record(watch, name, due[name])

    def _create(self, names: Sequence[str]) -> dict[str, int]:
        began = time.monotonic_ns()
        due: dict[str, int] = {}
        for index, name in enumerate(names):
            due[name] = began + int(index * self.shape.spacing_seconds * 1e9)
            time.sleep(max(0.0, (due[name] - time.monotonic_ns()) / 1e9))
            pod = self.template.named(name, namespace=self.namespace, run=self.label, node=self.target.node)
            self.target.kube.create(PODS, pod)
        return due

    def _record(self, watch: PodWatch, name: str, due_ns: int) -> None:
        steps = watch.steps(name)
        labels = {"pod": name}
        outcome = OK if "running" in steps else "failed" if steps.keys() & {"failed", "gone"} else "timeout"
        ended = max(due_ns, steps["running"]) if outcome == OK else time.monotonic_ns()
        for phase, start, end in phases(steps, due_ns):
            parameters = {"phase": phase, "kubelet": self.kubelet}
            self.recorder.event("L-START", start, end, parameters=parameters, labels=labels)
        parameters = {"phase": "total", "kubelet": self.kubelet}
        self.recorder.event("L-START", due_ns, ended, outcome=outcome, parameters=parameters, labels=labels)

    def _remove(self, watch: PodWatch, names: Iterable[str]) -> None:
        """Delete pods and wait until their claims are gone too: the next wave must find free devices."""
        gone = list(names)
        selector = f"{LABEL}={self.label}"
        self.target.kube.delete_collection(PODS, namespace=self.namespace, label_selector=selector)
        until = time.monotonic() + GONE_SECONDS
        if not watch.wait(gone, {"gone"}, until) or not wait_until(
            lambda: watch.claims_left(gone) == 0, max(0.1, until - time.monotonic())
        ):
            raise TargetError(
                f"pods or claims of {self.namespace} are not gone {GONE_SECONDS:.0f} s after they "
                "were deleted; "
                "is the driver's unprepare failing? See `kubectl get pods,resourceclaims -n "
                f"{self.namespace}`"
            )


def _wait_for_account(kube: Kube, namespace: str) -> None:
    """Wait until the controller manager has given the namespace its service account: pods need one."""

    def there() -> bool:
        try:
            kube.get(SERVICE_ACCOUNTS, "default", namespace=namespace)
        except (NotFound, Forbidden):
            return False
        return True

    if not wait_until(there, ACCOUNT_SECONDS):
        raise TargetError(
            f"namespace {namespace} got no service account within {ACCOUNT_SECONDS:.0f} s: "
            "is a controller manager running in this cluster?"
        )
