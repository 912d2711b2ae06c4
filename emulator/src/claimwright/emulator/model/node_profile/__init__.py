"""What a node is made of: CPUs, NUMA, PCI tree, NVLink and fabric. Text profiles live in `nodes/`."""

from claimwright.emulator.model.node_profile.devices import (
    AudioDevice,
    BridgeDevice,
    Device,
    NicDevice,
    NvSwitchDevice,
)
from claimwright.emulator.model.node_profile.profile import NodeProfile
from claimwright.emulator.model.node_profile.sections import (
    BoardVariant,
    GpuMemoryNodes,
    Machine,
    NumaNode,
    NvLinkWiring,
)
from claimwright.emulator.model.node_profile.slots import (
    AudioSlot,
    BridgeSlot,
    Endpoint,
    GpuSlot,
    NicSlot,
    NvSwitchSlot,
    Root,
    Slot,
    endpoints,
    under,
)

__all__ = [
    "AudioDevice",
    "AudioSlot",
    "BoardVariant",
    "BridgeDevice",
    "BridgeSlot",
    "Device",
    "Endpoint",
    "GpuMemoryNodes",
    "GpuSlot",
    "Machine",
    "NicDevice",
    "NicSlot",
    "NodeProfile",
    "NumaNode",
    "NvLinkWiring",
    "NvSwitchDevice",
    "NvSwitchSlot",
    "Root",
    "Slot",
    "endpoints",
    "under",
]
