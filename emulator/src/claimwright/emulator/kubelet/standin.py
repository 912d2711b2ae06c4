"""The stand-in: any number of emulated nodes in one process, on one watch of the pods."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from claimwright.dra.kube import PODS, ChangeType, Kube, Reflector
from claimwright.emulator.kubelet.api import Api
from claimwright.emulator.kubelet.clock import Clock, RealClock
from claimwright.emulator.kubelet.errors import KubeletError, NoSuchContainer
from claimwright.emulator.kubelet.journal import Journal
from claimwright.emulator.kubelet.node import NodeRunner, Surroundings
from claimwright.emulator.kubelet.node_objects import StandInNode
from claimwright.emulator.kubelet.pods import JsonObject, Pod
from claimwright.emulator.kubelet.sandbox import ProgramResult, run_program
from claimwright.emulator.kubelet.tasks import TaskOwner
from claimwright.emulator.kubelet.timings import Timings
from claimwright.emulator.kubelet.views import ContainerView

_AT_ONCE: Final = 16  # nodes that register at the same time
_SYNC_SECONDS: Final = 60.0


class StandInKubelet:
    """Plays the kubelets of `nodes` against one API server; an async context manager.

    All methods belong to one event loop. `stop` leaves the world as a killed kubelet does: nodes, pods and
    claims stay; a later stand-in on the same folders goes on with them.
    """

    def __init__(
        self,
        kube: Kube,
        nodes: Sequence[StandInNode],
        *,
        clock: Clock | None = None,
        timings: Timings | None = None,
        threads: int = 12,
    ) -> None:
        names = [node.name for node in nodes]
        if len(set(names)) != len(names):
            raise KubeletError(f"nodes {names}: expected each name once")
        self.nodes = tuple(nodes)
        self._kube = kube
        self._clock = clock or RealClock()
        self._timings = timings or Timings()
        self._api = Api(kube, threads=threads)
        self.journal = Journal(self._clock)
        self._runners: dict[str, NodeRunner] = {}
        self._reflector: Reflector | None = None
        self._tasks = TaskOwner()

    async def start(self) -> None:
        """Register all nodes and take over their pods; return when every pod known now has been looked at."""
        major, minor = await self._api.server_version()
        around = Surroundings(self._api, self._clock, self._timings, self.journal, f"v{major}.{minor}.0")
        self._runners = {node.name: NodeRunner(node, i, around) for i, node in enumerate(self.nodes)}
        await self._start_nodes()
        await self._follow_pods()
        for runner in self._runners.values():
            runner.begin_reconciling()
        self._tasks.spawn(self._redeliver(), name="redeliver pods")

    async def stop(self) -> None:
        """Stop everything where it is; twice is fine."""
        await self._tasks.close()
        if self._reflector:
            await asyncio.to_thread(self._reflector.stop)
        await asyncio.gather(*(runner.stop() for runner in self._runners.values()))
        self._api.close()

    async def remove_nodes(self) -> None:
        """Delete the Node objects and their leases; call it before `stop`."""
        await asyncio.gather(*(runner.leave() for runner in self._runners.values()))

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def node(self, name: str) -> NodeRunner:
        """Return one running node; raises `KubeletError` for a name that is not ours."""
        if name not in self._runners:
            raise KubeletError(f"node {name} is none of this stand-in's: {', '.join(self._runners)}")
        return self._runners[name]

    def view(self, namespace: str, pod: str, container: str) -> ContainerView:
        """Return what a running container sees; raises `NoSuchContainer`."""
        for runner in self._runners.values():
            with contextlib.suppress(NoSuchContainer):
                return runner.view(namespace, pod, container)
        raise NoSuchContainer(f"container {container} of pod {namespace}/{pod} does not run on this stand-in")

    async def exec(
        self,
        namespace: str,
        pod: str,
        container: str,
        argv: Sequence[str],
        *,
        timeout_seconds: float = 30.0,
        environment: Mapping[str, str] | None = None,
    ) -> ProgramResult:
        """Run a program where it sees the container's devices, libraries and tools; see `sandbox.py`."""
        view = self.view(namespace, pod, container)
        root = self.node_of(view).sandbox(view)
        return await run_program(root, view, argv, timeout_seconds=timeout_seconds, environment=environment)

    def node_of(self, view: ContainerView) -> NodeRunner:
        """Return the node that a view's container runs on."""
        return next(r for r in self._runners.values() if r.runs(view))

    async def _start_nodes(self) -> None:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def start(runner: NodeRunner) -> None:
            async with gate:
                await runner.start()

        await asyncio.gather(*(start(runner) for runner in self._runners.values()))

    async def _follow_pods(self) -> None:
        loop = asyncio.get_running_loop()
        synced = asyncio.Event()

        def on_change(kind: ChangeType, pod: dict[str, Any]) -> None:
            _on_loop(loop, self._deliver, kind, pod)

        # One node asks for its own pods; many share one watch of all bound pods, which costs the server less.
        selector = f"spec.nodeName={self.nodes[0].name}" if len(self.nodes) == 1 else "spec.nodeName!="
        self._reflector = Reflector(
            self._kube,
            PODS,
            on_change=on_change,
            on_relist=lambda: _on_loop(loop, synced.set),
            field_selector=selector,
        )
        self._reflector.start()
        try:
            await asyncio.wait_for(synced.wait(), _SYNC_SECONDS)
        except TimeoutError:
            raise KubeletError(
                f"the pods were not listed within {_SYNC_SECONDS:g} s: {self._reflector.error}"
            ) from None

    def _deliver(self, kind: ChangeType, pod: JsonObject) -> None:
        runner = self._runners.get(pod.get("spec", {}).get("nodeName", ""))
        if runner is None:
            return
        if kind == "DELETED":
            runner.vanish(Pod.from_object(pod).reference.uid)
        else:
            runner.observe(Pod.from_object(pod))

    async def _redeliver(self) -> None:
        """Offer all pods again now and then, so that one whose worker failed gets another."""
        while self._reflector:
            await self._clock.sleep(self._timings.reconcile)
            for pod in self._reflector.items().values():
                self._deliver("MODIFIED", pod)


def _on_loop(loop: asyncio.AbstractEventLoop, function: Any, *args: Any) -> None:  # noqa: ANN401
    # The loop may be closed between the reflector's last event and its end.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *args)


StandIn = StandInKubelet
