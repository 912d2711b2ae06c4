"""A world: a Kubernetes, one emulated GPU node in it, the driver on that node, and a way to look into containers."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from claimwright.e2e.driver_process import DriverProcess
from claimwright.e2e.kubernetes_door import Kubernetes
from claimwright.e2e.objects import Pod
from claimwright.e2e.observation import Observation
from claimwright.e2e.workspace import Workspace
from claimwright.emulator.running import RunningNode


class World(Protocol):
    """What scenarios need of their surroundings; real local nodes and the kubelet stand-in both fit."""

    @property
    def kubernetes(self) -> Kubernetes:
        """The API server, with an administrator's rights."""
        ...

    @property
    def node_name(self) -> str:
        """The Node that carries the GPUs."""
        ...

    @property
    def cdi_dir(self) -> Path:
        """Where the node's container runtime finds CDI specs, as a path on this machine."""
        ...

    @property
    def driver_kubeconfig(self) -> Path:
        """The driver's own credentials, reachable from this machine."""
        ...

    @property
    def emulated(self) -> RunningNode:
        """The node's hardware."""
        ...

    @property
    def driver(self) -> DriverProcess:
        """The driver's process on that node."""
        ...

    def observe(self, workspace: Workspace, pod: Pod, container: str) -> Observation:
        """Let the probe look around inside a running container."""
        ...
