"""What the hardware says of itself now: readings of one GPU become ailments; pure.

Numbers are nvml.h's (13.5): `nvmlDeviceGpuRecoveryAction_t`, `NVML_GPU_FABRIC_STATE_*`,
`NVML_GPU_FABRIC_HEALTH_MASK_*`, `nvmlClocksEventReason*`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from claimwright.dra.slices import TaintEffect
from claimwright.driver.health.ailments import (
    FABRIC,
    GPU_LOST,
    INFOROM,
    MEMORY,
    NVLINK,
    PCIE,
    RECOVERY,
    THROTTLED,
    UNREADABLE,
    Ailment,
)
from claimwright.driver.inventory import Gpu
from claimwright.driver.ports import FabricReading

_ACTIONS: Final = {
    1: "gpu-reset",
    2: "node-reboot",
    3: "drain-p2p",
    4: "drain-and-reset",
    5: "recover-imex-domain",
    6: "bus-reset",
    7: "system-reboot",
}
_FABRIC_STATES: Final = {1: "not-started", 2: "in-progress"}
_TRUE: Final = 1
# First bit of each two-bit field of the mask, and how bad it is.
_FABRIC_FAULTS: Final[tuple[tuple[int, str, TaintEffect], ...]] = (
    (4, "route-unhealthy", "NoSchedule"),
    (0, "degraded-bandwidth", "None"),
    (2, "route-recovery", "None"),
    (6, "access-timeout-recovery", "None"),
)
_CONFIGURATION_BIT: Final = 8
_CONFIGURATION_NONE: Final = 1
_HARDWARE_SLOWDOWN: Final = 0x8
_HARDWARE_THERMAL: Final = 0x40
_POWER_BRAKE: Final = 0x80
# Ailments that come and go by themselves: they count when two readings in a row show them.
LINGERING: Final = frozenset({THROTTLED, PCIE})


def absence(gpu: Gpu) -> Iterator[Ailment]:
    """Yield why nothing of the GPU was read this time."""
    if gpu.lost:
        yield Ailment(GPU_LOST, "NoSchedule", "", "the GPU fell off the bus", gpu.pci_bus_id)
    elif gpu.unreadable:
        text = f"the GPU cannot be read: {gpu.unreadable}"
        yield Ailment(UNREADABLE, "NoSchedule", "", text, gpu.pci_bus_id)


@dataclass(frozen=True)
class Best:
    """The best that was seen of a GPU in this boot: active NVLinks, and lanes of its PCIe link.

    What a board could have says little: a slot may have fewer lanes, and a link may lead nowhere.
    """

    nvlinks: frozenset[int] = frozenset()
    pcie_width: int = 0

    def after(self, gpu: Gpu) -> Best:
        """Return it after a reading."""
        now = gpu.condition
        return Best(self.nvlinks | set(now.nvlinks_active), max(self.pcie_width, now.pcie_width or 0))


def diagnose(gpu: Gpu, best: Best) -> Iterator[Ailment]:
    """Yield what ails a GPU that was read."""
    yield from _recovery(gpu)
    yield from _memory(gpu)
    yield from _links(gpu, best.nvlinks)
    yield from _fabric(gpu)
    yield from _slow(gpu, best.pcie_width)
    if gpu.condition.inforom_corrupt:
        yield Ailment(
            INFOROM, "None", "corrupt", "its infoROM is corrupted: replace the board", gpu.pci_bus_id
        )


def _recovery(gpu: Gpu) -> Iterator[Ailment]:
    action = gpu.condition.recovery_action
    if action:
        word = _ACTIONS.get(action, f"action-{action}")
        yield Ailment(
            RECOVERY, "NoSchedule", word, f"its driver asks for {word.replace('-', ' ')}", gpu.pci_bus_id
        )


def _memory(gpu: Gpu) -> Iterator[Ailment]:
    if gpu.condition.repair_failed:
        text = "its memory cannot be repaired any more: replace the board"
        yield Ailment(MEMORY, "NoSchedule", "repair-failed", text, gpu.pci_bus_id)
    elif gpu.condition.repair_pending:
        text = "a repair of its memory is pending: reset the GPU, or reload the driver"
        yield Ailment(MEMORY, "NoSchedule", "repair-pending", text, gpu.pci_bus_id)


def _links(gpu: Gpu, known: frozenset[int]) -> Iterator[Ailment]:
    down = sorted(known - set(gpu.condition.nvlinks_active))
    if down:
        numbers = ", ".join(map(str, down))
        yield Ailment(
            NVLINK, "NoSchedule", f"{len(down)}-down", f"NVLinks {numbers} went down", gpu.pci_bus_id
        )


def _fabric(gpu: Gpu) -> Iterator[Ailment]:
    found = None if gpu.fabric is None else _fabric_fault(gpu.fabric)
    if found is not None:
        word, effect = found
        text = f"its NVLink fabric: {word.replace('-', ' ')}"
        yield Ailment(FABRIC, effect, word, text, gpu.pci_bus_id)


def _fabric_fault(fabric: FabricReading) -> tuple[str, TaintEffect] | None:
    if fabric.state in _FABRIC_STATES:
        return _FABRIC_STATES[fabric.state], "NoSchedule"
    if fabric.status:
        return "failed", "NoSchedule"
    if fabric.health_mask >> _CONFIGURATION_BIT & 0b1111 > _CONFIGURATION_NONE:
        return "incorrect-configuration", "NoSchedule"
    for bit, word, effect in _FABRIC_FAULTS:
        if fabric.health_mask >> bit & 0b11 == _TRUE:
            return word, effect
    return None


def _slow(gpu: Gpu, most: int) -> Iterator[Ailment]:
    width = gpu.condition.pcie_width
    if width and width < most:
        text = f"its PCIe link has {width} of {most} lanes"
        yield Ailment(PCIE, "None", f"x{width}-of-x{most}", text, gpu.pci_bus_id)
    reasons = gpu.condition.clock_reasons
    if reasons & (_HARDWARE_THERMAL | _POWER_BRAKE) and reasons & _HARDWARE_SLOWDOWN:
        word = "thermal" if reasons & _HARDWARE_THERMAL else "power-brake"
        text = f"the hardware slows it down ({word.replace('-', ' ')})"
        yield Ailment(THROTTLED, "None", word, text, gpu.pci_bus_id)
