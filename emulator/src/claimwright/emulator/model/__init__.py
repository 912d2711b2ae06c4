"""The hardware model: pure values, profiles as text, and one mutable owner per node.

`build_node(load_node_profile("hgx-h100"), "node-a")` gives a NodeState, `NodeModel(state)` its owner: read
with `.snapshot()`, follow with `.subscribe()`, change by operations that answer with the new GpuState or
raise OperationRefused with NVML's reason. Nothing here touches the machine, apart from reading profiles.
"""

from claimwright.emulator.errors import OperationRefused, ProfileError, Refusal, UnknownProfile
from claimwright.emulator.model.board import (
    MIB,
    AddressingMode,
    Architecture,
    Board,
    Brand,
    ClockRange,
    Clocks,
    NvLinkSpec,
)
from claimwright.emulator.model.build import build_node
from claimwright.emulator.model.catalogue import (
    board_names,
    load_board,
    load_node_profile,
    node_names,
    read_node_profile,
)
from claimwright.emulator.model.fabric import Fabric, FabricState
from claimwright.emulator.model.node import NodeModel, Subscriber
from claimwright.emulator.model.node_profile import Machine, NodeProfile, NumaNode
from claimwright.emulator.model.pci import Bar, FunctionKind, PciAddress, PciFunction, PciIdentity
from claimwright.emulator.model.profile_text import parse_profile
from claimwright.emulator.model.state import (
    ClockLock,
    ClockReading,
    ComputeMode,
    Ecc,
    EccErrors,
    GpuProcess,
    GpuState,
    Nic,
    NodeState,
    NvLink,
    NvSwitch,
    PowerReading,
    ProcessKind,
    Temperatures,
    TimeSlice,
    Utilization,
)

__all__ = [
    "MIB",
    "AddressingMode",
    "Architecture",
    "Bar",
    "Board",
    "Brand",
    "ClockLock",
    "ClockRange",
    "ClockReading",
    "Clocks",
    "ComputeMode",
    "Ecc",
    "EccErrors",
    "Fabric",
    "FabricState",
    "FunctionKind",
    "GpuProcess",
    "GpuState",
    "Machine",
    "Nic",
    "NodeModel",
    "NodeProfile",
    "NodeState",
    "NumaNode",
    "NvLink",
    "NvLinkSpec",
    "NvSwitch",
    "OperationRefused",
    "PciAddress",
    "PciFunction",
    "PciIdentity",
    "PowerReading",
    "ProcessKind",
    "ProfileError",
    "Refusal",
    "Subscriber",
    "Temperatures",
    "TimeSlice",
    "UnknownProfile",
    "Utilization",
    "board_names",
    "build_node",
    "load_board",
    "load_node_profile",
    "node_names",
    "parse_profile",
    "read_node_profile",
]
