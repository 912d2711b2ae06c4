"""What can go wrong in the NVML face; each message says what to do."""

from __future__ import annotations

from pathlib import Path

from claimwright.emulator.errors import EmulatorError


class NvmlFaceError(EmulatorError):
    """Anything that the NVML face reports."""


class HeaderMissing(NvmlFaceError):
    """The header package, needed by the generator alone, is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(f"nvml.h was not found: install the package {package!r} (needed to generate only)")


class TooManyGpus(NvmlFaceError):
    """The node has more GPUs than the shared pages have room for."""

    def __init__(self, count: int, capacity: int) -> None:
        super().__init__(f"the node has {count} GPUs, the shared pages hold at most {capacity}")


class FieldTooLong(NvmlFaceError):
    """A value of the model does not fit its place in the page."""

    def __init__(self, name: str, value: object, limit: int) -> None:
        super().__init__(f"{name} is {value!r}: at most {limit} fit into the shared page")


class SocketTaken(NvmlFaceError):
    """Another node, or something that is no socket, is at the socket's path."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is in use: another node runs there; stop it (claimwright node down), or choose a new name"
        )


class NotCompiled(NvmlFaceError):
    """The library and tools are not compiled, and cannot be."""
