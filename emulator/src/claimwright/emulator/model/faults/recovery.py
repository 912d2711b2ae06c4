"""What the driver asks the operator to do: the most that any fault in force asks for."""

from __future__ import annotations

from claimwright.emulator.model.faults.fault import health_of, with_health
from claimwright.emulator.model.health import RecoveryAction
from claimwright.emulator.model.state import NodeState

# From the least to the most that has to be done; the numbers of the header are in no such order.
_SEVERITY = (
    RecoveryAction.NONE,
    RecoveryAction.DRAIN_P2P,
    RecoveryAction.RECOVER_IMEX_DOMAIN,
    RecoveryAction.GPU_RESET,
    RecoveryAction.DRAIN_AND_RESET,
    RecoveryAction.BUS_RESET,
    RecoveryAction.NODE_REBOOT,
    RecoveryAction.SYSTEM_REBOOT,
)


def needing(state: NodeState, gpu: int, action: RecoveryAction) -> NodeState:
    """Return the node with a recovery asked for, unless more is asked for already."""
    present = health_of(state, gpu).recovery
    return with_health(state, gpu, recovery=max(present, action, key=_SEVERITY.index))


def needing_nothing(state: NodeState, gpu: int) -> NodeState:
    """Return the node with no recovery asked for this GPU."""
    return with_health(state, gpu, recovery=RecoveryAction.NONE)
