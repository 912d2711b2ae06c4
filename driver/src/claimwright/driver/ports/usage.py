"""Who uses a GPU, and whether it is kept up without users, as a port. GPUs are named by PCI address."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class GpuClient:
    """A process with a context on a GPU, by its number on the host; the name is empty where nobody tells."""

    pid: int
    name: str = ""


class Usage(Protocol):
    """StepFailed carries NVML's word for what went wrong."""

    def clients(self, address: str) -> tuple[GpuClient, ...]:
        """Return the processes that NVML knows on the GPU; none when it does not see the GPU."""
        ...

    def persistence(self, address: str) -> bool | None:
        """Tell whether persistence mode is on; None when NVML does not see the GPU, or the GPU has no such mode."""
        ...

    def aside(self) -> AbstractContextManager[None]:
        """Keep this process itself from holding GPUs within the context."""
        ...

    def set_persistence(self, address: str, *, enabled: bool) -> None:
        """Switch persistence mode."""
        ...
