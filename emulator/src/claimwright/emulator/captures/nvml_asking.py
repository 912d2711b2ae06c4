"""Asks NVML one thing at a time: what a board does not tell is None, and a GPU that is gone ends the asking."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

Leaf = tuple[str, str]
Reader = Callable[[ModuleType, Any], object]

MIB = 1 << 20
GONE = frozenset({1, 9, 15, 16})
"""UNINITIALIZED, DRIVER_NOT_LOADED, GPU_IS_LOST, RESET_REQUIRED: an answer like that says nothing of the board."""


def asked(nvml: ModuleType, gpu: Any, reader: Reader) -> object | None:  # noqa: ANN401 - an opaque handle
    """Return what a reader reads, None where the board does not tell it or the driver does not know the function."""
    try:
        return reader(nvml, gpu)
    except nvml.NVMLError as error:
        if error.value in GONE:
            raise
        return None
    except (ValueError, LookupError):
        return None


def bus(text: str) -> str:
    """Write an NVML bus id as the kernel does."""
    domain, _, rest = text.lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}"


def text(value: object) -> str:
    """Write what pynvml gave."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
