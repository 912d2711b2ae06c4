"""What can be wrong with a GPU while it still answers: remapped rows, limits in force, a degraded PCIe link.

Everything here is healthy by default; faults (model.faults) put it out of order and in order again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag


class RecoveryAction(IntEnum):
    """`nvmlDeviceGpuRecoveryAction_t` (nvml.h 13.5): what the driver asks the operator to do."""

    NONE = 0
    GPU_RESET = 1
    NODE_REBOOT = 2
    DRAIN_P2P = 3
    DRAIN_AND_RESET = 4
    RECOVER_IMEX_DOMAIN = 5
    BUS_RESET = 6
    SYSTEM_REBOOT = 7


class ClockReason(IntFlag):
    """`nvmlClocksEventReason*` (nvml.h 13.5): why clocks are lower than they could be."""

    NONE = 0
    GPU_IDLE = 0x1
    APPLICATION_SETTING = 0x2
    SOFTWARE_POWER_CAP = 0x4
    HARDWARE_SLOWDOWN = 0x8
    SYNC_BOOST = 0x10
    SOFTWARE_THERMAL = 0x20
    HARDWARE_THERMAL = 0x40
    POWER_BRAKE = 0x80


@dataclass(frozen=True, slots=True)
class RowRemaps:
    """Rows of memory replaced by spare ones, by cause; `pending` waits for a reset, `failed` for a new board."""

    corrected: int = 0
    uncorrected: int = 0
    pending: bool = False
    failed: bool = False


@dataclass(frozen=True, slots=True)
class RetiredPages:
    """Addresses of pages taken out of use, on boards without a row remapper; `pending` waits for a driver reload."""

    single_bit: tuple[int, ...] = ()
    double_bit: tuple[int, ...] = ()
    pending_single_bit: bool = False
    pending_double_bit: bool = False

    @property
    def pending(self) -> bool:
        """Whether any page is retired only once the driver has been loaded anew."""
        return self.pending_single_bit or self.pending_double_bit


@dataclass(frozen=True, slots=True)
class Health:
    """The state of repair of one GPU; clocks in MHz, None where nothing limits them."""

    recovery: RecoveryAction = RecoveryAction.NONE
    reset_required: bool = False
    rows: RowRemaps = RowRemaps()
    retired: RetiredPages = RetiredPages()
    clock_reasons: ClockReason = ClockReason.NONE
    clock_ceiling: int | None = None
    clock_stuck: int | None = None
    pcie_generation: int | None = None
    pcie_width: int | None = None
    pcie_replays: int = 0
    inforom_valid: bool = True
    failed_fans: int = 0
