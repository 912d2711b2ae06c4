"""PCI values: addresses, identities, BARs and functions as sysfs and NVML name them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import total_ordering

_ADDRESS = re.compile(
    r"(?:(?P<domain>[0-9a-f]{4,8}):)?(?P<bus>[0-9a-f]{2}):(?P<device>[0-9a-f]{2})\.(?P<function>[0-7])",
    re.IGNORECASE,
)


@total_ordering
@dataclass(frozen=True, slots=True)
class PciAddress:
    """A PCI function's address; its text form is the kernel's, `0000:53:00.0`."""

    domain: int
    bus: int
    device: int
    function: int = 0

    @classmethod
    def parse(cls, text: str) -> PciAddress:
        """Read the kernel's, NVML's (8 domain digits) or the short form; ValueError names the text."""
        found = _ADDRESS.fullmatch(text)
        if found is None or int(found["device"], 16) > 31:
            raise ValueError(f"{text!r} is no PCI address; expected dddd:bb:dd.f, such as 0000:53:00.0")
        return cls(*(int(found[part] or "0", 16) for part in ("domain", "bus", "device", "function")))

    @property
    def nvml(self) -> str:
        """The bus id in NVML's form, `00000000:53:00.0` (upper-case hex)."""
        return f"{self.domain:08X}:{self.bus:02X}:{self.device:02X}.{self.function:X}"

    @property
    def legacy(self) -> str:
        """The 16-byte form of old NVML structs, `0000:53:00.0` (upper-case hex)."""
        return f"{self.domain & 0xFFFF:04X}:{self.bus:02X}:{self.device:02X}.{self.function:X}"

    def __str__(self) -> str:
        return f"{self.domain:04x}:{self.bus:02x}:{self.device:02x}.{self.function:x}"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, PciAddress):
            return NotImplemented
        return self._order < other._order

    @property
    def _order(self) -> tuple[int, int, int, int]:
        return self.domain, self.bus, self.device, self.function


class FunctionKind(StrEnum):
    """What sits at a PCI address."""

    BRIDGE = "bridge"
    GPU = "gpu"
    NVSWITCH = "nvswitch"
    NIC = "nic"
    AUDIO = "audio"
    VIRTUAL = "virtual"


@dataclass(frozen=True, slots=True)
class PciIdentity:
    """The id registers; `class_code` holds base class, sub-class and interface, as in `0x030200`."""

    vendor: int
    device: int
    subsystem_vendor: int
    subsystem_device: int
    class_code: int
    revision: int

    @property
    def modalias(self) -> str:
        """The string that module aliases match (file2alias.c writes it upper-case)."""
        base, sub, interface = self.class_code >> 16, self.class_code >> 8 & 0xFF, self.class_code & 0xFF
        return (
            f"pci:v{self.vendor:08X}d{self.device:08X}sv{self.subsystem_vendor:08X}sd{self.subsystem_device:08X}"
            f"bc{base:02X}sc{sub:02X}i{interface:02X}"
        )


@dataclass(frozen=True, slots=True)
class Bar:
    """One assigned base address register: index (0-5), first byte, size, and the kernel's resource flags."""

    index: int
    start: int
    size_bytes: int
    flags: int


@dataclass(frozen=True, slots=True)
class Sriov:
    """The SR-IOV capability of a physical function: VF `i` has its routing id + offset + stride·i.

    `bars` are those of one VF, the first at the start of the physical function's window for all of them.
    """

    total: int
    offset: int
    stride: int
    device: int
    bars: tuple[Bar, ...] = ()


@dataclass(frozen=True, slots=True)
class PciFunction:
    """One function of the tree below a root complex: what the hardware is, not what the kernel does with it.

    `path` names every step from the root to this function, `("pci0000:50", "0000:50:01.0", …,
    "0000:53:00.0")`: the components of its folder below `/sys/devices`. Functions of equal `isolation` cannot be
    told apart by the IOMMU and share a group; None without an IOMMU. `physical` is the owner of a virtual function.
    """

    address: PciAddress
    kind: FunctionKind
    identity: PciIdentity
    path: tuple[str, ...]
    numa_node: int
    bars: tuple[Bar, ...]
    isolation: int | None
    irq: int
    link_generation: int
    link_width: int
    secondary_bus: int | None = None
    sriov: Sriov | None = None
    physical: PciAddress | None = None
    trained_generation: int = (
        0  # what both ends of the link can do; 0: no link of its own (a virtual function)
    )
    trained_width: int = 0

    @property
    def root(self) -> str:
        """The root complex, which the standard attribute `resource.kubernetes.io/pcieRoot` carries."""
        return self.path[0]
