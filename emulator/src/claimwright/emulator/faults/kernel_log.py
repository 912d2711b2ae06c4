"""The kernel's log of a node: one line per XID, in the driver's own words, for people and for log readers.

`NVRM: Xid (PCI:0000:53:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.` behind the seconds
since the node booted, as dmesg shows them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from claimwright.emulator.model import NodeModel, NodeState
from claimwright.emulator.model.change import EventKind, GpuEvent
from claimwright.emulator.model.faults import meaning

_MOST_BYTES = 4 << 20  # a storm must not fill the disk: the log starts anew


@contextmanager
def kernel_log(path: Path, model: NodeModel, now: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Write every XID of the node into `path` for as long as the block lasts."""
    started = now()
    with path.open("a", buffering=1) as log:

        def write(event: GpuEvent) -> None:
            if event.kind is not EventKind.XID:
                return
            if log.tell() > _MOST_BYTES:
                log.truncate(0)
            log.write(f"[{now() - started:12.6f}] {xid_line(model.snapshot(), event)}\n")

        leave = model.listen(write)
        try:
            yield
        finally:
            leave()


def xid_line(state: NodeState, event: GpuEvent) -> str:
    """Return what the driver prints about an XID; MIG instances stand behind the code (GPU-I:03, GPU-CI:00)."""
    gpu = state.gpus[event.gpu]
    instance = "" if event.gpu_instance is None else f" GPU-I:{event.gpu_instance:02d}"
    compute = "" if event.compute_instance is None else f" GPU-CI:{event.compute_instance:02d}"
    process = next(iter(gpu.processes), None)
    who = f"pid={process.pid}, name={process.name}" if process else "pid='<unknown>', name=<unknown>"
    place = f"PCI:{str(gpu.pci).rpartition('.')[0]}{instance}{compute}"
    return f"NVRM: Xid ({place}): {event.data}, {who}, {meaning(event.data).text}."
