"""The fabric manager of a node with NVSwitches as a port: which GPUs it can join by NVLink, and the joining.

In its shared modes no NVLink works until a partition is activated; partitions of one node overlap, and of those that do
one is active at a time. GPUs are named by their module ids, as the fabric manager names them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class FabricPartition:
    """GPUs that can be joined, by module id in ascending order; `addresses` are theirs on the PCI bus, where known."""

    number: int
    modules: tuple[int, ...]
    addresses: tuple[str, ...] = ()
    active: bool = False


class FabricManager(Protocol):
    """StepFailed carries the fabric manager's word for what went wrong."""

    def partitions(self) -> tuple[FabricPartition, ...]:
        """Return all by number; none where the fabric is not shared. StepFailed when nobody answers."""
        ...

    def activate(self, number: int) -> None:
        """Join the GPUs of a partition."""
        ...

    def deactivate(self, number: int) -> None:
        """Part them again."""
        ...
