"""One pod's whole life on a node, as one task: prepare, run, stop, release, report, delete.

The order at the end is the kubelet's, and others rely on it: containers stop, then the claims are released,
then the final status is written, then the object is deleted. Who sees the pod gone may use its devices again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from claimwright.dra.kube import Conflict, Invalid, KubeError, NotFound
from claimwright.emulator.kubelet.addresses import AddressesExhausted
from claimwright.emulator.kubelet.clock import parse_timestamp, wait_for_either
from claimwright.emulator.kubelet.containers import ContainerRecord, restore_records
from claimwright.emulator.kubelet.errors import InjectionFailed, KubeletError, PodRejected
from claimwright.emulator.kubelet.events import FAILED_PREPARE
from claimwright.emulator.kubelet.host import PodHost
from claimwright.emulator.kubelet.lifecycle import Decision, decide
from claimwright.emulator.kubelet.plans import ContainerPlan, plan_containers
from claimwright.emulator.kubelet.pods import JsonObject, Pod
from claimwright.emulator.kubelet.status import PodFacts, build_status, rejected_status
from claimwright.emulator.kubelet.timings import growing

_KILLED: Final = 137  # 128 + SIGKILL: what a container reports that did not stop within the grace period


class PodWorker:
    """Drives one pod; fed by `observe` and `vanish`, ends when the pod needs nothing more of the node."""

    def __init__(self, pod: Pod, host: PodHost) -> None:
        self.pod = pod
        self.vanished = False
        self.removed = False
        self.admitted = False
        self._host = host
        self._changed = asyncio.Event()
        self._plans: Mapping[str, ContainerPlan] = {}
        self._records: dict[str, ContainerRecord] = restore_records(pod)
        self._blocked: dict[str, datetime] = {}
        self._failed_starts: dict[str, int] = {}
        self._published: JsonObject | None = None
        self._pod_ip: str | None = None
        self._started_at = _start_time(pod) or host.clock.now()

    def observe(self, pod: Pod) -> None:
        """Take a newer version of the pod's object; an older one, late from the watch, is ignored."""
        if _version(pod) > _version(self.pod):
            self.pod = pod
            self._changed.set()

    def vanish(self) -> None:
        """Take note that the object is gone from the API: deleted by force, or by ourselves."""
        self.vanished = True
        self._changed.set()

    def refresh(self) -> None:
        """Look again: something outside the pod that its status shows has changed (device health)."""
        self._changed.set()

    async def run(self) -> None:
        """Live the pod's life to its end."""
        try:
            self._plans = plan_containers(self.pod)
            if not self._ending and await self._bring_up():
                self._adopt()
                await self._keep_running()
        except PodRejected as rejected:
            await self._reject(rejected)
        await self._end()

    @property
    def _ending(self) -> bool:
        return self.vanished or self.pod.deleting or self.pod.terminal

    async def _bring_up(self) -> bool:
        """Get the pod to where its containers may start; False when it is to end before."""
        if _start_time(self.pod) is None:
            self._host.admit(self.pod)
        self.admitted = True
        attempt = 0
        while not self._ending:
            try:
                await self._host.prepare(self.pod)
                self._pod_ip = self._host.take_address(self.pod)
            except PodRejected:
                raise
            except (KubeletError, KubeError) as error:
                await self._report_failure(error)
                await self._pause(
                    growing(self._host.timings.retry_start, self._host.timings.retry_cap, attempt)
                )
                attempt += 1
            else:
                return True
        return False

    async def _report_failure(self, error: Exception) -> None:
        if isinstance(error, AddressesExhausted):
            await self._host.event(
                self.pod, "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}"
            )
        else:
            message = f"Failed to prepare dynamic resources: prepare dynamic resources: {error}"
            await self._host.event(self.pod, FAILED_PREPARE, message)
        await self._publish(Decision())

    def _adopt(self) -> None:
        """After a restart of the stand-in: containers that run go on with what their claims give them."""
        for container in self.pod.containers:
            if self._records[container.name].running:
                with contextlib.suppress(InjectionFailed):  # a running container outlives its CDI specs
                    self._host.start_container(self.pod, container)

    async def _keep_running(self) -> None:
        """Start, end and restart containers until the pod is over or is to end."""
        while not self._ending:
            decision = decide(
                self.pod, self._plans, self._records, now=self._host.clock.now(), timings=self._host.timings
            )
            for name, code in decision.exits:
                self._stop(name, code)
            started = [name for name in decision.starts if await self._start(name)]
            if decision.exits or started:
                continue
            if decision.finished:
                return
            await self._publish(decision)
            await self._pause(self._until_next(decision))

    async def _start(self, name: str) -> bool:
        """Start a container unless its last failure is too fresh; tell whether it runs now."""
        now = self._host.clock.now()
        if self._blocked.get(name, now) > now:
            return False
        container = next(c for c in self.pod.containers if c.name == name)
        try:
            self._host.start_container(self.pod, container)
        except InjectionFailed as error:
            await self._block(name, error)
            return False
        self._records[name] = self._records[name].started(now)
        self._failed_starts.pop(name, None)
        return True

    async def _block(self, name: str, error: InjectionFailed) -> None:
        attempt = self._failed_starts.get(name, 0)
        timings = self._host.timings
        delay = growing(timings.retry_start, timings.retry_cap, attempt)
        self._failed_starts[name] = attempt + 1
        self._blocked[name] = self._host.clock.now() + timedelta(seconds=delay)
        self._records[name] = self._records[name].waiting("CreateContainerError", str(error))
        await self._host.event(self.pod, "Failed", f"Error: {error}")

    def _until_next(self, decision: Decision) -> float | None:
        wakes = [self._blocked[name] for name in decision.starts if name in self._blocked]
        wakes += [decision.wake_at] if decision.wake_at else []
        if not wakes:
            return None
        return max(0.0, (min(wakes) - self._host.clock.now()).total_seconds())

    def _stop(self, name: str, exit_code: int) -> None:
        self._host.stop_container(self.pod, name)
        self._records[name] = self._records[name].ended(self._host.clock.now(), exit_code)

    async def _reject(self, rejected: PodRejected) -> None:
        status = rejected_status(self.pod, rejected.reason, str(rejected), self._host.clock.now())
        await self._host.event(self.pod, rejected.reason, str(rejected))
        await self._patch(status)

    async def _end(self) -> None:
        await self._stop_containers()
        await self._release()
        if not self.vanished and not self.pod.terminal:
            await self._publish(Decision(), over=True)
        self._host.forget(self.pod)
        if not self.vanished and self.pod.deleting:
            await self._delete()
            self.removed = True
        self.removed |= self.vanished

    async def _stop_containers(self) -> None:
        running = [name for name, record in self._records.items() if record.running]
        grace = self.pod.grace_seconds
        slowest = max(
            (self._plans[name].stop_seconds for name in running if name in self._plans), default=0.0
        )
        await self._wait_out(min(slowest, grace))
        for name in running:
            in_time = name not in self._plans or self._plans[name].stop_seconds <= grace
            self._stop(name, 0 if in_time else _KILLED)

    async def _wait_out(self, seconds: float) -> None:
        """Wait for containers to stop; a pod deleted by force is not waited for."""
        deadline = self._host.clock.monotonic() + seconds
        while not self.vanished and (left := deadline - self._host.clock.monotonic()) > 0:
            await self._pause(left)

    async def _release(self) -> None:
        attempt = 0
        while True:
            try:
                await self._host.release(self.pod)
            except KubeletError:
                delay = growing(self._host.timings.retry_start, self._host.timings.retry_cap, attempt)
                await self._pause(delay)
                attempt += 1
            else:
                return

    async def _publish(self, decision: Decision, *, over: bool = False) -> None:
        facts = PodFacts(
            host_ip=self._host.address,
            started_at=self._started_at,
            pod_ip=self._pod_ip,
            health=self._host.health_of(self.pod) if not over else {},
        )
        now = self._host.clock.now()
        status = build_status(self.pod, self._records, decision, facts, now=now, over=over)
        if status != self._published:
            await self._patch(status)
            self._published = status

    async def _patch(self, status: JsonObject) -> None:
        while not self.vanished:
            try:
                answer = await self._host.api.patch_pod_status(self.pod.reference, status)
            except NotFound:
                self.vanish()
            except Invalid:
                raise
            except KubeError as error:
                if isinstance(error, Conflict) and "uid" in error.message.lower():
                    self.vanish()  # another pod has the name by now
                    return
                await self._host.clock.sleep(self._host.timings.api_retry)
            else:
                self._take_answer(answer)
                return

    def _take_answer(self, answer: JsonObject) -> None:
        # What we wrote is no news, but a deletion that came in between is.
        pod = Pod.from_object(answer)
        if _version(pod) > _version(self.pod):
            if pod.deleting and not self.pod.deleting:
                self._changed.set()
            self.pod = pod

    async def _delete(self) -> None:
        while not self.vanished:
            try:
                await self._host.api.delete_pod(self.pod.reference)
            except KubeError:
                await self._host.clock.sleep(self._host.timings.api_retry)
            else:
                return

    async def _pause(self, seconds: float | None) -> None:
        """Wait for news about the pod, at most `seconds`."""
        await wait_for_either(self._host.clock, self._changed, seconds)
        self._changed.clear()


def _version(pod: Pod) -> int:
    # Comparable as numbers: etcd's revisions always were, since Kubernetes 1.35 it is promised (KEP-5504).
    return int(pod.raw["metadata"].get("resourceVersion", "0"))


def _start_time(pod: Pod) -> datetime | None:
    text = pod.raw.get("status", {}).get("startTime")
    return parse_timestamp(text) if text else None
