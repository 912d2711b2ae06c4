"""Processors, wiring and fabric of a node."""

from __future__ import annotations

from typing import Annotated, Literal

from claimwright.emulator.model.profile_text import Profile
from claimwright.emulator.model.rules import Field, JsonValue, NonNegativeInt

RootName = Annotated[str, Field(pattern=r"^[0-9a-f]{4}:[0-9a-f]{2}$")]
CpuList = Annotated[str, Field(pattern=r"^([0-9]{1,9}(-[0-9]{1,9})?(,[0-9]{1,9}(-[0-9]{1,9})?)*)?$")]
Distance = Annotated[int, Field(ge=10, le=255)]


class NumaNode(Profile):
    """One NUMA node; a node without processors has the empty list."""

    id: NonNegativeInt
    socket: NonNegativeInt
    cpus: CpuList
    memory_mib: NonNegativeInt
    distances: tuple[Distance, ...]


class BoardVariant(Profile):
    """A board of this node alone: a known one, apart from the fields that differ, by dotted name."""

    key: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    like: str
    differs: dict[str, JsonValue]


class GpuMemoryNodes(Profile):
    """The NUMA nodes that each coherent GPU adds: the first holds its memory, the others wait for MIG."""

    per_gpu: Annotated[int, Field(ge=1, le=16)]
    near: Distance  # from the processor that the GPU hangs on
    far: Distance  # from the other processors
    between: Distance  # among themselves


class PcieRoot(Profile):
    """A root complex, and the tree below it in the notation of `tree.TreeReader`."""

    root: RootName
    numa: int
    tree: Annotated[dict[str, JsonValue], Field(min_length=1)]


class NvLinkWiring(Profile):
    """How many links of each GPU go to each NVSwitch, in the order of the switches' addresses.

    `elsewhere` counts links to switches that are no PCI function of this node: switch trays of a rack, and the
    NVLink 5 chips of a baseboard.
    """

    links_per_switch: tuple[NonNegativeInt, ...] = ()
    elsewhere: NonNegativeInt = 0


class Machine(Profile):
    """What DMI says, which processors, and whether the GPUs are handed to a virtual machine.

    The processor architecture is a fact for files and reports: programs on the node run on the host's own.
    """

    vendor: str
    product: str
    architecture: Literal["x86_64", "aarch64"] = "x86_64"
    virtualization: Literal["none", "pass_through"] = "none"
