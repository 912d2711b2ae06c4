"""The process's memory: what start-up used and nobody needs any more, and what threads would keep."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Mapping
from typing import Final

# malloc.h of the GNU C library, mallopt(3).
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
_LARGE_BYTES: Final = 128 * 1024


# For the environment in which the process starts, as a thread's own store of freed blocks cannot be changed later
# (glibc manual, "Memory Allocation Tunables"): each thread fills one with up to 236 kB of all small sizes, over
# thousands of claims, and such a block never comes back. Python's own objects do not come from there.
ENVIRONMENT: Final = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}


def keep_little() -> None:
    """Have the C library give large blocks back when they are freed; call before there are threads.

    By default each thread gets a heap of its own, and a large block that is freed makes later ones come from there:
    every thread that once prepared a claim or read the node then keeps its largest moment, some MB each, for ever.
    """
    try:
        library = ctypes.CDLL(None)
        library.mallopt(_ARENA_MAX, 1)
        library.mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)  # a fixed threshold does not grow with what is freed
    except (AttributeError, OSError):
        return  # a C library without mallopt, such as musl's, keeps little anyway


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for other programs, without what is for this one."""
    return {name: value for name, value in environment.items() if ENVIRONMENT.get(name) != value}


def give_back() -> None:
    """Return free memory to the kernel: importing and discovering leaves several MB of holes behind."""
    gc.collect()
    gc.freeze()  # what lives now lives for ever; later collections need not look at it
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        return  # a C library without malloc_trim, such as musl's, keeps little anyway
