"""Names that hardware carries, made from node name and index: two boots agree, two nodes differ."""

from __future__ import annotations

import hashlib
import uuid

_SPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "claimwright.emulator")


def gpu_uuid(node: str, index: int) -> str:
    """Return `GPU-8-4-4-4-12`, lower case, as NVML gives it."""
    return f"GPU-{uuid.uuid5(_SPACE, f'{node}/gpu/{index}')}"


def nvswitch_uuid(node: str, index: int) -> str:
    """Return `SWX-` and 32 hex digits in NVML's grouping."""
    return f"SWX-{uuid.uuid5(_SPACE, f'{node}/nvswitch/{index}')}".upper()


def serial(node: str, index: int) -> str:
    """Return 13 digits, the first three as on boards of this age."""
    return f"165{_number(f'{node}/serial/{index}') % 10**10:010d}"


def node_guid(node: str, name: str) -> str:
    """Return an adapter's node GUID as sysfs prints it, `xxxx:xxxx:xxxx:xxxx`."""
    digits = f"{_number(f'{node}/guid/{name}') % 2**64:016x}"
    return ":".join(digits[at : at + 4] for at in range(0, 16, 4))


def boot_id(node: str, boot: str) -> str:
    """Return a boot id in the form of /proc/sys/kernel/random/boot_id."""
    return str(uuid.uuid5(_SPACE, f"{node}/boot/{boot}"))


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
