"""What the driver reports: XID codes, what they mean and what they leave behind.

Codes and meanings: NVIDIA, "XID Errors" (GPU deployment and management documentation), in our own words; recovery
actions as nvml.h 13.5 names them. A code that is not here is reported all the same and leaves nothing behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model.change import Change, gpu_at
from claimwright.emulator.model.faults.bus import fell_off, plugged_again
from claimwright.emulator.model.faults.fault import GpuFault, with_health, xid
from claimwright.emulator.model.faults.recovery import needing, needing_nothing
from claimwright.emulator.model.health import RecoveryAction
from claimwright.emulator.model.rules import Field
from claimwright.emulator.model.state import NodeState

FALLEN_OFF = 79


@dataclass(frozen=True, slots=True)
class XidMeaning:
    """What an XID says, and what the driver asks for after it."""

    text: str
    recovery: RecoveryAction = RecoveryAction.NONE


_RESET = RecoveryAction.GPU_RESET
_DRAIN = RecoveryAction.DRAIN_AND_RESET
XIDS = {
    13: XidMeaning("Graphics Engine Exception"),
    31: XidMeaning("MMU Fault"),
    32: XidMeaning("Invalid or corrupted push buffer stream"),
    38: XidMeaning("Driver firmware error"),
    43: XidMeaning("GPU stopped processing"),
    45: XidMeaning("Preemptive Channel Removal"),
    48: XidMeaning(
        "An uncorrectable double bit error (DBE) has been detected on GPU in the framebuffer", _RESET
    ),
    61: XidMeaning("Internal micro-controller breakpoint/warning"),
    62: XidMeaning("Internal micro-controller halt", _RESET),
    63: XidMeaning("Row Remapper: New row marked for remapping, reset gpu to activate", _RESET),
    64: XidMeaning("Row Remapper: Error remapping a row", _RESET),
    68: XidMeaning("NVDEC0 Exception"),
    69: XidMeaning("Graphics Engine class error"),
    74: XidMeaning("NVLink: fatal error detected on link", _RESET),
    79: XidMeaning("GPU has fallen off the bus", RecoveryAction.BUS_RESET),
    92: XidMeaning("High single-bit ECC error rate"),
    94: XidMeaning("Contained: ECC uncorrectable error"),
    95: XidMeaning("Uncontained: ECC uncorrectable error", _DRAIN),
    109: XidMeaning("Context Switch Timeout"),
    119: XidMeaning("Timeout waiting for RPC from GSP", _RESET),
    120: XidMeaning("GSP task exception", _RESET),
    121: XidMeaning("C2C Link corrected error"),
    137: XidMeaning("NVLink FLA privilege error"),
    140: XidMeaning("Unrecovered ECC Error", _DRAIN),
    143: XidMeaning("GPU Initialization Failure", RecoveryAction.NODE_REBOOT),
    145: XidMeaning("NVLINK: RLW error", _RESET),
    149: XidMeaning("NVLINK: NETIR error", _RESET),
    154: XidMeaning("GPU recovery action changed"),
}


def meaning(code: int) -> XidMeaning:
    """Return what a code says; one that is not known says its number."""
    return XIDS.get(code, XidMeaning(f"Unknown error {code}"))


class Xid(GpuFault):
    """An XID of any code."""

    name = "xid"
    summary = "the driver reports an XID, and the GPU is left as that XID leaves it (79: lost)"
    faces = "NVML XID event, recovery action (field 230), GPU_IS_LOST after 79; kernel log line"

    xid: Annotated[int, Field(ge=1, le=9999, description="code")]
    gpu_instance: Annotated[int | None, Field(ge=0, description="MIG GPU instance that it belongs to")] = None
    compute_instance: Annotated[int | None, Field(ge=0, description="MIG compute instance in it")] = None

    @property
    def lasts(self) -> bool:
        """Only where something has to be done about it."""
        return self._recovery is not RecoveryAction.NONE

    @property
    def _recovery(self) -> RecoveryAction:
        return meaning(self.xid).recovery

    def strike(self, state: NodeState) -> Change[None]:
        """Report it; on a GPU that is gone already nothing is left to report."""
        gpu = gpu_at(state, self.gpu)
        if self.compute_instance is not None and self.gpu_instance is None:
            raise OperationRefused(
                Refusal.INVALID_ARGUMENT,
                f"compute_instance={self.compute_instance} without gpu_instance: name the GPU instance that it is in",
            )
        return Change(
            state,
            None,
            (xid(gpu, self.xid, gpu_instance=self.gpu_instance, compute_instance=self.compute_instance),),
        )

    def hold(self, state: NodeState) -> NodeState:
        """Ask for the recovery; 79 takes the GPU away."""
        if self.xid == FALLEN_OFF:
            return fell_off(state, self.gpu)
        return needing(state, self.gpu, self._recovery)

    def release(self, state: NodeState) -> NodeState:
        """Ask for nothing."""
        return plugged_again(state, self.gpu) if self.xid == FALLEN_OFF else needing_nothing(state, self.gpu)


class ResetRequired(GpuFault):
    """The GPU's firmware is stuck."""

    name = "reset-required"
    summary = "the GPU needs a reset before new work (GSP stuck, XID 119)"
    faces = "NVML XID 119, field 230 = GPU_RESET, new processes refused with RESET_REQUIRED; kernel log line"

    def strike(self, state: NodeState) -> Change[None]:
        """Report the firmware's silence."""
        return Change(state, None, (xid(gpu_at(state, self.gpu), 119),))

    def hold(self, state: NodeState) -> NodeState:
        """Take no new work before a reset."""
        return with_health(needing(state, self.gpu, RecoveryAction.GPU_RESET), self.gpu, reset_required=True)

    def release(self, state: NodeState) -> NodeState:
        """Take work again."""
        return with_health(needing_nothing(state, self.gpu), self.gpu, reset_required=False)
