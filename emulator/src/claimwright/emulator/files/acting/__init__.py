"""What a write to a file does: `write(state, acts, data)` is an operation on the model, its errnos the kernel's.

Each subject has a module with its STORES, by the names that `Acts` carries. The rules themselves are the model's; a
store only reads the text as the kernel does, and asks.
"""

from claimwright.emulator.files.acting.writing import PAGE_BYTES, STORES, Waits, is_waiting, write

__all__ = ["PAGE_BYTES", "STORES", "Waits", "is_waiting", "write"]
