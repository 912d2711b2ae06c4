"""The NVML library of this process, loaded by absolute path from the driver root.

pynvml itself asks the dynamic loader for `libnvidia-ml.so.1`; a driver in a pod must not depend on the loader's
search path, so the library is loaded here and handed to pynvml before its first call. Initialised with
NVML_INIT_FLAG_NO_GPUS: a node whose GPUs are all passed through has none to offer and is still a working node.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pynvml

from claimwright.driver.errors import NodeUnusable, NvmlUnusable

_WORDS = {
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "not-loaded",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "version-mismatch",
    pynvml.NVML_ERROR_GPU_IS_LOST: "not-loaded",  # how a library speaks whose driver was unloaded under it
    pynvml.NVML_ERROR_UNINITIALIZED: "not-loaded",
}


# A watch waits for events a second at a time.
_GIVE_WAY_SECONDS: Final = 3.0


class NvmlSession:
    """Initialises NVML while somebody uses it and shuts it down after the last.

    An idle driver thus does not stand in the way of a driver update or a GPU reset. NVML itself may be used by
    many threads. A process can speak to one library only: pynvml keeps it in a module variable. `find` names the
    library anew at each initialisation, as a driver update brings a file of another name.
    """

    def __init__(self, find: Callable[[], Path]) -> None:
        self._find = find
        self._lock = threading.Lock()
        self._users = 0
        self._watching = threading.Condition()
        self._watches = self._asides = 0

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
                    _shut_down()

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Use NVML for as long as nobody wants it `aside`; begins when nobody does."""
        with self._watching:
            self._watching.wait_for(lambda: not self._asides)
            self._watches += 1
        try:
            with self.open():
                yield
        finally:
            with self._watching:
                self._watches -= 1
                self._watching.notify_all()

    @property
    def gives_way(self) -> bool:
        """Whether watches should end now."""
        return self._asides > 0

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Have no watch within this context: what NVML keeps open would hold a GPU on the NVIDIA driver."""
        with self._watching:
            self._asides += 1
            self._watching.wait_for(lambda: not self._watches, _GIVE_WAY_SECONDS)
        try:
            yield
        finally:
            with self._watching:
                self._asides -= 1
                self._watching.notify_all()

    def _initialise(self) -> None:
        library = self._find().resolve()
        _hand_to_pynvml(library)
        try:
            pynvml.nvmlInitWithFlags(pynvml.NVML_INIT_FLAG_NO_GPUS)
        except pynvml.NVMLError as error:
            raise nvml_unusable(
                f"NVML of {library} does not initialise: {error}. Is the NVIDIA kernel driver loaded, "
                "and is it of the library's version?",
                error,
            ) from error


def nvml_unusable(message: str, error: pynvml.NVMLError) -> NvmlUnusable:
    """Return the error that says so, with its word for taints."""
    return NvmlUnusable(message, _WORDS.get(error.value, "failing"))


def _shut_down() -> None:
    try:
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return  # the driver went away under us: there is nothing left to shut down


def _hand_to_pynvml(library: Path) -> None:
    loaded = pynvml.nvmlLib
    if loaded is not None and loaded._name == str(library):
        return
    try:
        pynvml.nvmlLib = ctypes.CDLL(str(library))
    except OSError as error:
        raise NodeUnusable(f"NVML library {library} cannot be loaded: {error}") from error
    # Functions of the library before; it stays mapped, as a driver update is rare and unmapping C code is not safe.
    pynvml._nvmlGetFunctionPointer_cache.clear()
