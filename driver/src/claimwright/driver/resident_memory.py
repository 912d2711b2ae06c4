"""The process's memory: what start-up used and nobody needs any more, and what threads would keep."""

from __future__ import annotations

import ctypes
import gc
from typing import Final

# malloc.h of the GNU C library, mallopt(3).
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
_LARGE_BYTES: Final = 128 * 1024


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


def give_back() -> None:
    """Return free memory to the kernel: importing and discovering leaves several MB of holes behind."""
    gc.collect()
    gc.freeze()  # what lives now lives for ever; later collections need not look at it
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        return  # a C library without malloc_trim, such as musl's, keeps little anyway
