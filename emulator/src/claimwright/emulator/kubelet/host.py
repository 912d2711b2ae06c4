"""What a pod's worker asks of its node: the seam between `worker.py` and `node.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from claimwright.emulator.kubelet.api import Api
from claimwright.emulator.kubelet.clock import Clock
from claimwright.emulator.kubelet.pods import ContainerSpec, JsonObject, Pod
from claimwright.emulator.kubelet.timings import Timings


class PodHost(Protocol):
    """A node, as one pod on it sees it."""

    api: Api
    clock: Clock
    timings: Timings
    address: str

    def admit(self, pod: Pod) -> None:
        """Take the pod or raise `PodRejected`."""
        ...

    def take_address(self, pod: Pod) -> str:
        """Give the pod its address; the same one each time."""
        ...

    async def prepare(self, pod: Pod) -> None:
        """Make the pod's claims ready, or raise why they are not."""
        ...

    async def release(self, pod: Pod) -> None:
        """Take the pod off its claims, or raise why that is not possible yet; idempotent."""
        ...

    def start_container(self, pod: Pod, container: ContainerSpec) -> None:
        """Compose what the container sees, or raise `InjectionFailed`."""
        ...

    def stop_container(self, pod: Pod, name: str) -> None:
        """Forget what the container saw; one that does not run is fine."""
        ...

    def health_of(self, pod: Pod) -> Mapping[str, Sequence[JsonObject]]:
        """Return `allocatedResourcesStatus` per container."""
        ...

    def forget(self, pod: Pod) -> None:
        """Give back what the pod holds of the node itself, its address."""
        ...

    async def event(self, pod: Pod, reason: str, message: str, *, warning: bool = True) -> None:
        """Record an event about the pod; a failure to do so is only logged."""
        ...
