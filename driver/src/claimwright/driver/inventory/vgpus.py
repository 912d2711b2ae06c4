"""GPUs as hosts of vGPUs, read from sysfs: which vGPUs exist, on which virtual functions or mediated devices.

Mediated devices are below `mdev_supported_types/nvidia-<type>/devices` of their parent (kernel document vfio-mediated-
device); virtual functions of newer drivers say their type in `nvidia/current_vgpu_type`, 0 for none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, TypeAlias

from claimwright.driver.inventory.functions import PCI_DEVICES
from claimwright.driver.inventory.spellings import number_of
from claimwright.driver.ports import GpuReading, Host, VgpuReading, VgpuType

MDEV_DEVICES: Final = PurePosixPath("/sys/bus/mdev/devices")
IsOwnVgpu: TypeAlias = Callable[[str], bool]


@dataclass(frozen=True)
class ExistingVgpu:
    """A vGPU that exists: `carrier` is the uuid of its mediated device or the address of its virtual function."""

    carrier: str
    type_id: int
    placement: int | None = None


@dataclass(frozen=True)
class VgpuHost:
    """What a GPU can host, and what it hosts for others than this driver.

    `functions` are the addresses of the virtual functions that can carry vGPUs, those included that only come with
    SR-IOV switched on; none where vGPUs are mediated devices of the GPU itself.
    """

    reading: VgpuReading
    functions: tuple[str, ...]
    foreign: tuple[ExistingVgpu, ...]

    @property
    def on_functions(self) -> bool:
        """Whether vGPUs are on virtual functions."""
        return self.reading.on_functions

    @property
    def mixed_sizes(self) -> bool:
        """Whether vGPUs of several sizes may share the GPU, each in its place."""
        return self.reading.mixed_sizes

    @property
    def types(self) -> tuple[VgpuType, ...]:
        """The types that the GPU can host in its present mode."""
        return self.reading.types

    def type_of(self, type_id: int) -> VgpuType | None:
        """Return a type by its id."""
        return next((each for each in self.types if each.type_id == type_id), None)


def vgpu_host(host: Host, address: str, gpu: GpuReading, is_own: IsOwnVgpu | None) -> VgpuHost | None:
    """Read the GPU at a PCI address; None when it hosts no vGPUs that share it in time, or has none of their files.

    In MIG mode the types are others, which live in partitions.
    """
    reading = gpu.vgpus
    if is_own is None or reading is None or not reading.types or (gpu.mig is not None and gpu.mig.enabled):
        return None
    functions = virtual_functions(host, address) if reading.on_functions else ()
    if reading.on_functions and not functions:
        return None
    existing = existing_vgpus(host, address, on_functions=reading.on_functions)
    return VgpuHost(reading, functions, tuple(each for each in existing if not is_own(each.carrier)))


def existing_vgpus(host: Host, address: str, *, on_functions: bool) -> Iterator[ExistingVgpu]:
    """Yield the vGPUs of a GPU that exist now, whoever made them."""
    if not on_functions:
        yield from _mediated(host, PCI_DEVICES / address / "mdev_supported_types")
        return
    for function in virtual_functions(host, address):
        type_id = vgpu_type_on(host, function)
        if type_id:
            yield ExistingVgpu(function, type_id, placement_on(host, function))


def virtual_functions(host: Host, address: str) -> tuple[str, ...]:
    """Return where the virtual functions of a GPU are, or will be: the PCI SR-IOV capability fixes their numbers.

    With SR-IOV on these are as many as an administrator or the driver has switched on.
    """
    folder = PCI_DEVICES / address
    total, offset, stride, now = (
        _number(host.read_text(folder / f"sriov_{name}"))
        for name in ("totalvfs", "offset", "stride", "numvfs")
    )
    return tuple(_function(address, offset + stride * index) for index in range(now or total))


def vgpu_type_on(host: Host, function: str) -> int | None:
    """Return the id of the type that a virtual function has, 0 for none; None when it can carry no vGPU now."""
    text = host.read_text(PCI_DEVICES / function / "nvidia" / "current_vgpu_type")
    return None if text is None else _number(text)


def placement_on(host: Host, function: str) -> int | None:
    """Return the first slot of the vGPU on a virtual function, None where the driver does not say."""
    number = _number(host.read_text(PCI_DEVICES / function / "nvidia" / "placement_id"), none=0xFFFFFFFF)
    return None if number == 0xFFFFFFFF else number


def mdev_type_of(host: Host, uuid: str) -> tuple[str, int] | None:
    """Return parent address and type id of a mediated device; None when there is none of that uuid."""
    link = host.read_link(MDEV_DEVICES / uuid)
    kind = host.read_link(MDEV_DEVICES / uuid / "mdev_type")
    if link is None:
        return None
    name = PurePosixPath(kind or "").name
    return PurePosixPath(link).parent.name, _number(name.removeprefix("nvidia-"))


def _mediated(host: Host, types: PurePosixPath) -> Iterator[ExistingVgpu]:
    for name in host.entries(types):
        for uuid in host.entries(types / name / "devices"):
            yield ExistingVgpu(uuid.lower(), _number(name.removeprefix("nvidia-")))


def _function(physical: str, distance: int) -> str:
    """Add to a routing id, which is bus, device and function in sixteen bits."""
    domain, bus, device = physical.split(":")
    number, _, function = device.partition(".")
    routing = (int(bus, 16) << 8 | int(number, 16) << 3 | int(function, 16)) + distance
    return f"{domain}:{routing >> 8:02x}:{routing >> 3 & 0x1F:02x}.{routing & 7:x}"


def _number(text: str | None, *, none: int = 0) -> int:
    found = number_of(text)
    return none if found is None else found
