"""The kinds of PCI devices, apart from GPUs, that a node profile lists once and places by name."""

from __future__ import annotations

from typing import Annotated, Literal

from claimwright.emulator.model.board import Id16
from claimwright.emulator.model.profile_text import Profile
from claimwright.emulator.model.rules import Field, NonNegativeInt

Generation = Annotated[int, Field(ge=1, le=7)]


class BridgeDevice(Profile):
    """A root port, or a port of a PCIe switch."""

    kind: Literal["bridge"]
    vendor: Id16
    device: Id16
    link_generation: Generation


class NicDevice(Profile):
    """A network adapter port with its RDMA device."""

    kind: Literal["nic"]
    model: str
    link_layer: Literal["infiniband", "ethernet"]
    vendor: Id16
    device: Id16
    subsystem_device: Id16
    link_generation: Generation
    manages_nvlink: bool = False  # the bridge ConnectX of NVLink 5 switches: SW_MNG in its VPD


class NvSwitchDevice(Profile):
    """An NVSwitch chip that is a PCI device of the host (NVLink 2 to 4)."""

    kind: Literal["nvswitch"]
    device: Id16


class AudioDevice(Profile):
    """The sound function beside the GPU of a workstation board."""

    kind: Literal["audio"]
    device: Id16


Device = Annotated[BridgeDevice | NicDevice | NvSwitchDevice | AudioDevice, Field(discriminator="kind")]


class GpuSettings(Profile):
    """What one GPU of a node has for itself."""

    module_id: NonNegativeInt | None = None  # its place on the baseboard; NVML's order is by address
    carrier: NonNegativeInt | None = None  # GPUs on one carrier, such as a superchip, share a serial number
    link_width: Annotated[int, Field(ge=1, le=32)] | None = None  # trained, where narrower than the board's
    board_part: str | None = None  # where a node mixes revisions of one board


class NicSettings(Profile):
    """What one port has for itself: the name of its RDMA device."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class NvSwitchSettings(Profile):
    """What one NVSwitch has for itself."""

    physical_id: NonNegativeInt


class NoSettings(Profile):
    """A device of which there is nothing to say."""
