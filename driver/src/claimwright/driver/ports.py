"""What the driver needs from outside, as Protocols: NVML, host files, programs, Kubernetes and time.

The adapters implement them for a real node, `claimwright.driver.testing` in memory; both pass the same
contract tests. Anything else of the same shape fits too, without importing this package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol


@dataclass(frozen=True)
class GpuReading:
    """What NVML says about one GPU; None where this GPU or this NVML does not know.

    `brand` and `architecture` are nvml.h's enumerators, `pci_bus_id` is NVML's own spelling
    (eight hexadecimal digits of domain), `memory_bytes` the total including what is reserved.
    """

    minor: int
    uuid: str
    name: str
    brand: int
    architecture: int
    compute_capability: tuple[int, int]
    pci_bus_id: str
    memory_bytes: int | None = None
    addressing_mode: int | None = None
    mig_enabled: bool = False


@dataclass(frozen=True)
class UnreadableGpu:
    """A GPU that NVML counts but does not describe, for instance because it fell off the bus."""

    index: int
    reason: str


@dataclass(frozen=True)
class NodeReading:
    """One pass over NVML: `cuda_driver_version` is NVML's integer, 13000 for 13.0."""

    driver_version: str
    cuda_driver_version: int
    gpus: tuple[GpuReading | UnreadableGpu, ...]


class Nvml(Protocol):
    """The NVIDIA management library of this node."""

    def read(self) -> NodeReading:
        """Read driver and GPUs now; NodeUnusable when the library is missing or refuses."""
        ...

    def close(self) -> None:
        """Shut the library down; harmless when it was never used."""
        ...


@dataclass(frozen=True)
class FileKind:
    """What a path is: a character device has its numbers, anything else has none."""

    is_character_device: bool = False
    is_directory: bool = False
    major: int = 0
    minor: int = 0


class Host(Protocol):
    """The host's files, by the absolute paths that they have on the host."""

    def kind(self, path: PurePosixPath) -> FileKind | None:
        """Return what `path` is, following links; None when it does not exist."""
        ...

    def read_text(self, path: PurePosixPath) -> str | None:
        """Return the stripped content of a small file, None when it cannot be read."""
        ...

    def read_link(self, path: PurePosixPath) -> str | None:
        """Return a symbolic link's target as written, None when `path` is none."""
        ...

    def entries(self, path: PurePosixPath) -> tuple[str, ...]:
        """Return the sorted names in a directory, nothing when it does not exist."""
        ...


@dataclass(frozen=True)
class Finished:
    """How a program ended: exit status and both outputs together."""

    status: int
    output: str


class Processes(Protocol):
    """Programs that the driver runs."""

    def run(
        self, command: Sequence[str], *, environment: Mapping[str, str], timeout_seconds: float
    ) -> Finished:
        """Run to the end; a program that cannot start or outlives the deadline raises StepFailed."""
        ...


class Clock(Protocol):
    """Time."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Suspend the caller."""
        ...


@dataclass(frozen=True)
class Located:
    """A file of the driver installation: where we read it and what it is called inside the root."""

    readable: Path
    inside: PurePosixPath
