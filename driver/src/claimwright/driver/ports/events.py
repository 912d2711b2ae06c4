"""Events of GPUs as a port: what the driver reports the moment it happens."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class GpuEvent:
    """One event of one GPU, named by uuid; `xid` is None when it is of another kind: then look at the GPU.

    `gpu_instance` is set where the event is of a partition.
    """

    gpu_uuid: str
    xid: int | None = None
    gpu_instance: int | None = None


class Watch(Protocol):
    """Events of the GPUs that were there when the watch began."""

    # Why GPUs are not watched, by uuid.
    unmonitored: Mapping[str, str]

    def wait(self, timeout_seconds: float) -> GpuEvent | None:
        """Return the next event, None when there is none in time.

        WatchEnded: a GPU was lost or the driver went away; read the node and begin anew.
        """
        ...


class GpuEvents(Protocol):
    """The source of events."""

    def watch(self) -> AbstractContextManager[Watch]:
        """Begin; NvmlUnusable when NVML does not work now. Blocks, and may be used from any thread."""
        ...
