"""What runs on the lab's kernel, inside: apart from the rest, since every import there is read over 9p and emulated.

`kernel_world()` is the table's world in there, for tests that act on it themselves.
"""

from claimwright.e2e.kernel_lab.inside.kernel_world import kernel_world

__all__ = ["kernel_world"]
