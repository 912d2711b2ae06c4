"""Events as the packets that a library's event sets receive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from claimwright.emulator.model import PciAddress
from claimwright.emulator.nvml.layout import EVENT, MAGIC

_NO_INSTANCE = 0xFFFFFFFF
_UNBIND, _BIND = 1, 2  # nvmlSystemEventTypeGpuDriver*


def event_packet(
    slot: int, kind: int, data: int, *, gpu_instance: int | None = None, compute_instance: int | None = None
) -> bytes:
    """Return the packet of one event; `kind` is its bit, 0 for "look at the pages again"."""
    return EVENT.pack(
        {
            "magic": MAGIC,
            "slot": slot,
            "unused": 0,
            "type": kind,
            "data": data,
            "gpu_instance": _NO_INSTANCE if gpu_instance is None else gpu_instance,
            "compute_instance": _NO_INSTANCE if compute_instance is None else compute_instance,
        }
    )


def binding_packets(
    before: Mapping[int, PciAddress], after: Mapping[int, PciAddress]
) -> Iterator[tuple[int, bytes]]:
    """Yield each GPU that the driver let go or took: the kind of system event, and its packet.

    Both map the indices of GPUs that the driver holds to their addresses; the event names a GPU as the driver does,
    domain << 16 | bus << 8 | device.
    """
    changes = (
        *((_UNBIND, index, before[index]) for index in sorted(before.keys() - after.keys())),
        *((_BIND, index, after[index]) for index in sorted(after.keys() - before.keys())),
    )
    for kind, index, pci in changes:
        yield kind, event_packet(index, kind, pci.domain << 16 | pci.bus << 8 | pci.device)
