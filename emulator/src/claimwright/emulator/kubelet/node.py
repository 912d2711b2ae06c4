"""One emulated node: its Node object and heartbeats, its drivers, its claims, its pods."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from claimwright.dra.kube import KubeError
from claimwright.dra.prepared import DeviceHealth
from claimwright.emulator.kubelet.addresses import PodAddresses
from claimwright.emulator.kubelet.admission import admit
from claimwright.emulator.kubelet.api import Api
from claimwright.emulator.kubelet.claim_state import ClaimState
from claimwright.emulator.kubelet.claims import check_claim, needed_claims
from claimwright.emulator.kubelet.clock import Clock
from claimwright.emulator.kubelet.errors import ClaimNotReady, KubeletError, NoSuchContainer
from claimwright.emulator.kubelet.events import pod_event
from claimwright.emulator.kubelet.health import HealthCache, allocated_resources
from claimwright.emulator.kubelet.health_file import write_health
from claimwright.emulator.kubelet.journal import Journal
from claimwright.emulator.kubelet.node_claims import NodeClaims
from claimwright.emulator.kubelet.node_objects import StandInNode, address_of, pod_range_of
from claimwright.emulator.kubelet.plugins import NodePlugins
from claimwright.emulator.kubelet.pods import ContainerKind, ContainerSpec, JsonObject, Pod, PodUid
from claimwright.emulator.kubelet.presence import NodePresence
from claimwright.emulator.kubelet.sandbox import Sandboxes
from claimwright.emulator.kubelet.tasks import TaskOwner
from claimwright.emulator.kubelet.timings import Timings
from claimwright.emulator.kubelet.views import ContainerView, compose_view
from claimwright.emulator.kubelet.wiping import SliceWiper
from claimwright.emulator.kubelet.worker import PodWorker

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Surroundings:
    """What all nodes of one stand-in share."""

    api: Api
    clock: Clock
    timings: Timings
    journal: Journal
    version: str


class NodeRunner:
    """A node that runs; fed with its pods by the stand-in's one watch."""

    def __init__(self, node: StandInNode, index: int, around: Surroundings) -> None:
        self.node = node
        self.api, self.clock, self.timings = around.api, around.clock, around.timings
        self.address = address_of(node, index)
        self._journal = around.journal
        pod_range = pod_range_of(node, index)
        self._addresses = PodAddresses(pod_range)
        self._health = HealthCache(self.clock.monotonic, default_timeout=self.timings.health_timeout)
        self._wiper = SliceWiper(self.api, node.name, self.clock, self.timings)
        self._plugins = NodePlugins(node, clock=self.clock, timings=self.timings, listener=self)
        self._claims = NodeClaims(node.checkpoint, self._plugins)
        self._presence = NodePresence(
            node,
            self.address,
            pod_range,
            api=self.api,
            clock=self.clock,
            timings=self.timings,
            version=around.version,
        )
        self._workers: dict[PodUid, PodWorker] = {}
        # Pods done with although the watch still tells of them; True where the object is removed too.
        self._done: dict[PodUid, bool] = {}
        self._gone: set[PodUid] = set()
        self._views: dict[tuple[PodUid, str], ContainerView] = {}
        self._sandboxes = Sandboxes(node.folder / "sb")
        self._tasks = TaskOwner()
        self._heartbeats = TaskOwner()

    async def start(self) -> None:
        """Register the node, wipe its slices, look for drivers; raises `CheckpointCorrupt`."""
        for folder in (self.node.registry_dir, self.node.plugins_dir, *self.node.cdi_dirs):
            folder.mkdir(parents=True, exist_ok=True)
        self._sandboxes.clear()
        self._claims.load()
        await self._presence.register()
        self._wiper.begin()
        await self._plugins.start()
        self._heartbeats.spawn(self._presence.renew_leases(), name=f"leases {self.node.name}")
        self._heartbeats.spawn(self._presence.report_status(), name=f"status {self.node.name}")
        self._tasks.spawn(self._watch_silence(), name=f"health {self.node.name}")
        self.note("NodeStarted", self.node.name)

    async def stop(self) -> None:
        """Stop all work where it is, as the death of a kubelet does: pods and claims stay as they are."""
        await self._heartbeats.close()
        await self._tasks.close()
        await self._plugins.close()
        await self._wiper.close()

    async def leave(self) -> None:
        """Delete the Node and its lease; heartbeats end first, because they would bring both back."""
        await self._heartbeats.close()
        await self.api.delete_node(self.node.name)

    def begin_reconciling(self) -> None:
        """Release claims of unknown pods from now on: all pods of the node have been told once."""
        self._tasks.spawn(self._reconcile(), name=f"reconcile {self.node.name}")

    # -- pods, as the watch tells them ---------------------------------------------------------------------

    def observe(self, pod: Pod) -> None:
        """Take a new or changed pod of this node."""
        uid = pod.reference.uid
        if worker := self._workers.get(uid):
            worker.observe(pod)
        elif self._needs_worker(pod):
            self._workers[uid] = worker = PodWorker(pod, self)
            self._tasks.spawn(self._live(worker), name=f"pod {pod.reference}")

    def vanish(self, uid: PodUid) -> None:
        """Take note that a pod's object is gone."""
        self._done.pop(uid, None)
        if worker := self._workers.get(uid):
            self._gone.add(uid)
            worker.vanish()

    def _needs_worker(self, pod: Pod) -> bool:
        removed = self._done.get(pod.reference.uid)
        if removed is None:
            return pod.deleting or not pod.terminal
        return pod.deleting and not removed

    async def _live(self, worker: PodWorker) -> None:
        uid, subject = worker.pod.reference.uid, str(worker.pod.reference)
        self.note("PodStarted", subject)
        try:
            await worker.run()
            if uid not in self._gone:
                self._done[uid] = worker.removed
        finally:
            self._gone.discard(uid)
            del self._workers[uid]
            self.note("PodEnded", subject)

    async def _reconcile(self) -> None:
        """Release claims whose pods are gone: deleted while nobody watched, or by force."""
        while True:
            for uid in self._claims.users() - self._workers.keys():
                try:
                    await self._claims.release(uid)
                    self.note("ClaimsReclaimed", uid)
                except KubeletError as error:
                    self.note("ReleaseFailed", uid, str(error))
            await self.clock.sleep(self.timings.reconcile * random.uniform(0.9, 1.1))  # noqa: S311  # spread nodes

    # -- what workers ask ----------------------------------------------------------------------------------

    def admit(self, pod: Pod) -> None:
        """Take the pod or raise `PodRejected`."""
        uid = pod.reference.uid
        others = (worker.pod for other, worker in self._workers.items() if other != uid and worker.admitted)
        admit(self.node, pod, others)

    def take_address(self, pod: Pod) -> str:
        """Give the pod its address; pods of the host network have the node's."""
        if pod.raw.get("spec", {}).get("hostNetwork"):
            return self.address
        return self._addresses.take(pod.reference.uid, pod.raw.get("status", {}).get("podIP"))

    async def prepare(self, pod: Pod) -> None:
        """Check and prepare all claims of the pod."""
        usable = []
        for needed in needed_claims(pod):
            try:
                claim = await self.api.claim(pod.reference.namespace, needed.name)
            except KubeError as error:
                raise ClaimNotReady(f"fetch ResourceClaim {needed.name}: {error.message}") from error
            usable.append(check_claim(pod, needed, claim))
        if usable:
            await self._claims.prepare(pod.reference.uid, usable)
            self.note("ClaimsPrepared", str(pod.reference), ",".join(c.reference.name for c in usable))

    async def release(self, pod: Pod) -> None:
        """Take the pod off its claims."""
        held = pod.reference.uid in self._claims.users()
        try:
            await self._claims.release(pod.reference.uid)
        except KubeletError as error:
            self.note("ReleaseFailed", str(pod.reference), str(error))
            raise
        if held:
            self.note("ClaimsReleased", str(pod.reference))

    def start_container(self, pod: Pod, container: ContainerSpec) -> None:
        """Compose the container's view."""
        view = compose_view(self.node, pod, container, self._claim_states(pod), pod_ip=self.take_address(pod))
        self._views[pod.reference.uid, container.name] = view
        self.note("ContainerStarted", str(pod.reference), container.name)

    def stop_container(self, pod: Pod, name: str) -> None:
        """Drop the container's view and its sandbox."""
        view = self._views.pop((pod.reference.uid, name), None)
        if view:
            self._sandboxes.remove(view)
            self.note("ContainerStopped", str(pod.reference), name)

    def health_of(self, pod: Pod) -> Mapping[str, Sequence[JsonObject]]:
        """Return device health per container, for the containers that use claims."""
        states = {name: state for name, state in self._claim_states(pod).items() if state.prepared}
        users = (c for c in pod.containers if c.claims and c.kind is ContainerKind.REGULAR)
        return {c.name: allocated_resources(c, states, self._health) for c in users} if states else {}

    def forget(self, pod: Pod) -> None:
        """Give the pod's address back."""
        self._addresses.give_back(pod.reference.uid)

    async def event(self, pod: Pod, reason: str, message: str, *, warning: bool = True) -> None:
        """Record an event about the pod."""
        self.note(reason, str(pod.reference), message)
        event = pod_event(pod, reason=reason, message=message, warning=warning, now=self.clock.now())
        try:
            await self.api.record(event)
        except KubeError as error:
            _LOG.warning("event %s of pod %s was not recorded: %s", reason, pod.reference, error)

    # -- what drivers tell ---------------------------------------------------------------------------------

    def driver_connected(self, driver: str) -> None:
        """Take note that a driver has at least one connected instance."""
        self._wiper.found(driver)
        self.note("DriverConnected", driver)

    def driver_lost(self, driver: str) -> None:
        """Take note that a driver has no connected instance any more."""
        self._wiper.lost(driver)
        self.note("DriverLost", driver)

    def health_reported(self, driver: str, reports: Sequence[DeviceHealth]) -> None:
        """Take what a driver told of the health of all its devices."""
        if self._health.report(driver, reports):
            self._health_changed()

    def health_lost(self, driver: str) -> None:
        """Take note that a driver's health stream has ended."""
        if self._health.clear(driver):
            self._health_changed()

    def note(self, kind: str, subject: str, detail: str = "") -> None:
        """Add to the stand-in's journal."""
        self._journal.note(self.node.name, kind, subject, detail)

    # -- what callers ask ----------------------------------------------------------------------------------

    def view(self, namespace: str, pod: str, container: str) -> ContainerView:
        """Return what a running container sees; raises `NoSuchContainer`."""
        for (_, name), view in self._views.items():
            if (view.pod.namespace, view.pod.name, name) == (namespace, pod, container):
                return view
        raise NoSuchContainer(
            f"container {container} of pod {namespace}/{pod} does not run on node {self.node.name}"
        )

    def runs(self, view: ContainerView) -> bool:
        """Say whether the view's container runs here."""
        return self._views.get((view.pod.uid, view.container)) is view

    def sandbox(self, view: ContainerView) -> Path:
        """Return the root of the folder in which programs see what the container sees."""
        return self._sandboxes.open(view)

    def claim_states(self) -> Mapping[str, ClaimState]:
        """Return what the node knows of the claims in use, by namespace/name."""
        return {str(state.reference): state for state in self._claims.states()}

    @property
    def drivers(self) -> tuple[str, ...]:
        """The names of the drivers with a registered instance."""
        return self._plugins.drivers()

    def _claim_states(self, pod: Pod) -> dict[str, ClaimState]:
        """Return the pod's claims by pod claim name, the extended-resource claim under ""."""
        states: dict[str, ClaimState] = {}
        try:
            wanted = needed_claims(pod)
        except ClaimNotReady:
            return states
        for needed in wanted:
            state = self._claims.state_of(pod.reference.namespace, needed.name)
            if state and pod.reference.uid in state.pods:
                states[needed.pod_claim] = state
        return states

    def _health_changed(self) -> None:
        write_health(self.node.health_checkpoint, self._health.to_state())
        for worker in self._workers.values():
            worker.refresh()

    async def _watch_silence(self) -> None:
        """Show devices as Unknown when their driver has not spoken of them for the agreed time."""
        while True:
            expiry = self._health.next_expiry()
            if expiry is None:
                await self.clock.sleep(self.timings.health_timeout / 2)
                continue
            await self.clock.sleep(max(0.0, expiry - self.clock.monotonic()) + 0.05)
            for worker in self._workers.values():
                worker.refresh()
