"""The numbers that the kernel has for character devices, by /proc/devices.

A container's node is made from its numbers, whether or not the host has a node for them. So a node that nobody made
on a fresh host (nvidia-modprobe makes them on first use, and nothing uses a GPU there before the first pod) is no
reason to start a pod without its GPU, nor to change the host's /dev.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

from claimwright.driver.ports import Host

_DEVICES: Final = PurePosixPath("/proc/devices")


def major_of(host: Host, *names: str) -> int | None:
    """Return the major number of the first of `names` that has one; None when none of these modules is loaded."""
    text = host.read_text(_DEVICES) or ""
    listed = re.findall(r"^\s*(\d+)\s+(\S+)$", text.partition("Block devices:")[0], re.MULTILINE)
    numbers = {name: int(major) for major, name in listed}
    return next((numbers[name] for name in names if name in numbers), None)
