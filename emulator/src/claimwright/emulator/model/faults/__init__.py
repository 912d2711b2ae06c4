"""Faults: what can go wrong with a node, each a value with an effect, a lasting condition and an end.

`FAULTS` is the table by name; `model.operations.faults` injects, clears and cures.
"""

from claimwright.emulator.model.faults.calls import CallFault, call_faults
from claimwright.emulator.model.faults.fault import ActiveFault, Cure, Fault, GpuFault, in_order
from claimwright.emulator.model.faults.table import FAULTS, FaultParameter, parameters_of, parse, usage
from claimwright.emulator.model.faults.xids import XIDS, XidMeaning, meaning

__all__ = [
    "FAULTS",
    "XIDS",
    "ActiveFault",
    "CallFault",
    "Cure",
    "Fault",
    "FaultParameter",
    "GpuFault",
    "XidMeaning",
    "call_faults",
    "in_order",
    "meaning",
    "parameters_of",
    "parse",
    "usage",
]
