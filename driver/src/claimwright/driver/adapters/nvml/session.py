"""The NVML library of this process, loaded by absolute path from the driver root.

pynvml itself asks the dynamic loader for `libnvidia-ml.so.1`; a driver in a pod must not depend on the loader's
search path, so the library is loaded here and handed to pynvml before its first call. Initialised with
NVML_INIT_FLAG_NO_GPUS: a node whose GPUs are all passed through has none to offer and is still a working node.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pynvml

from claimwright.driver.errors import NodeUnusable


class NvmlSession:
    """Initialises NVML while somebody uses it and shuts it down after the last.

    An idle driver thus does not stand in the way of a driver update or a GPU reset. NVML itself may be used by
    many threads. A process can speak to one library only: pynvml keeps it in a module variable.
    """

    def __init__(self, library: Path) -> None:
        self.library = library
        self._lock = threading.Lock()
        self._users = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Use NVML within this context; NodeUnusable when the library is missing or refuses."""
        with self._lock:
            if self._users == 0:
                self._initialise()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    pynvml.nvmlShutdown()

    def _initialise(self) -> None:
        _hand_to_pynvml(self.library)
        try:
            pynvml.nvmlInitWithFlags(pynvml.NVML_INIT_FLAG_NO_GPUS)
        except pynvml.NVMLError as error:
            raise NodeUnusable(
                f"NVML of {self.library} does not initialise: {error}. Is the NVIDIA kernel driver loaded, "
                "and is it of the library's version?"
            ) from error


def _hand_to_pynvml(library: Path) -> None:
    loaded = pynvml.nvmlLib
    if loaded is not None and loaded._name != str(library):
        raise NodeUnusable(f"this process already uses NVML of {loaded._name}, not {library}")
    if loaded is None:
        try:
            pynvml.nvmlLib = ctypes.CDLL(str(library))
        except OSError as error:
            raise NodeUnusable(f"NVML library {library} cannot be loaded: {error}") from error
