"""Memory that start-up used and nobody needs any more."""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """Return free memory to the kernel: importing and discovering leaves several MB of holes behind."""
    gc.collect()
    gc.freeze()  # what lives now lives for ever; later collections need not look at it
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        return  # a C library without malloc_trim, such as musl's, keeps little anyway
