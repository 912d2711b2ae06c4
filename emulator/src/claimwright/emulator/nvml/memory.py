"""The shared memory that carries the pages: one writer, sealed so that nobody else can write."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import threading

from claimwright.emulator.nvml.layout import CAPACITY, CLOSED_OFFSET, HEADER_BYTES, OWNER_OFFSET, PAGE_BYTES

TOTAL_BYTES = HEADER_BYTES + CAPACITY * PAGE_BYTES

_F_SEAL_FUTURE_WRITE = 0x10  # linux/fcntl.h, since 5.1; not in Python's fcntl
_PROCESS_SHARED = 1
_ROBUST = 1
_SECONDS = 10


def create_memory(name: str) -> int:
    """Return a memfd of the pages' size."""
    memfd = os.memfd_create(f"claimwright-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(memfd, TOTAL_BYTES)
    return memfd


def map_and_seal(memfd: int) -> mmap.mmap:
    """Map the memory for writing, then seal it: later mappings and writes by anyone are read-only."""
    memory = mmap.mmap(memfd, TOTAL_BYTES)
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | _F_SEAL_FUTURE_WRITE | fcntl.F_SEAL_SEAL
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, seals)
    return memory


class Owner:
    """Holds a robust process-shared mutex in the pages for as long as this process lives.

    When the process dies, by kill -9 too, the kernel sets FUTEX_OWNER_DIED in the word that readers look at
    (set_robust_list(2)), so they notice with one load and no system call. A thread of its own holds it: a robust
    mutex is lost with the thread that took it, and nobody knows which thread made this object.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self._word = (ctypes.c_char * 40).from_buffer(memory, OWNER_OFFSET)  # sizeof(pthread_mutex_t), x86-64
        self._closed = ctypes.c_uint32.from_buffer(memory, CLOSED_OFFSET)
        self._held = threading.Event()
        self._release = threading.Event()
        self._thread = threading.Thread(target=self._hold, name="nvml-owner", daemon=True)
        self._thread.start()
        if not self._held.wait(_SECONDS):
            raise TimeoutError("the owner's mutex was not taken within 10 s")

    def close(self) -> None:
        """Tell readers that the node is gone, and let the mutex go; idempotent."""
        self._closed.value = 1
        self._release.set()
        self._thread.join(_SECONDS)

    def _hold(self) -> None:
        libc = ctypes.CDLL(None)
        attributes = (ctypes.c_char * 16)()
        libc.pthread_mutexattr_init(attributes)
        libc.pthread_mutexattr_setpshared(attributes, _PROCESS_SHARED)
        libc.pthread_mutexattr_setrobust(attributes, _ROBUST)
        libc.pthread_mutex_init(self._word, attributes)
        libc.pthread_mutex_lock(self._word)
        self._held.set()
        self._release.wait()
        libc.pthread_mutex_unlock(self._word)
