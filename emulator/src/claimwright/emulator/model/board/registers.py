"""The PCI side of a board: id registers, BARs, link."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Annotated

from claimwright.emulator.model.board.names import PcieAtomic
from claimwright.emulator.model.pci import PciIdentity
from claimwright.emulator.model.profile_text import Profile, by_name
from claimwright.emulator.model.rules import Field, NonNegativeInt

Id16 = Annotated[int, Field(ge=0, le=0xFFFF)]
_Atomic = Annotated[PcieAtomic, by_name(PcieAtomic)]


class BarSpec(Profile):
    """One base address register the board asks for."""

    index: Annotated[int, Field(ge=0, le=5)]
    mib: NonNegativeInt = 0
    kib: NonNegativeInt = 0
    wide: bool = True  # 64 bit: takes the next index too
    prefetchable: bool = True

    @property
    def size_bytes(self) -> int:
        """How much address space it decodes."""
        return self.mib << 20 | self.kib << 10

    @property
    def flags(self) -> int:
        """The kernel's resource flags (linux/ioport.h): MEM, SIZEALIGN, MEM_64, PREFETCH and the raw bits."""
        plain = 0x00000200 | 0x00040000
        return plain | (0x00100004 if self.wide else 0) | (0x00002008 if self.prefetchable else 0)


class BoardPci(Profile):
    """The id registers, BARs and the link that the board itself can train to."""

    vendor: Id16 = 0x10DE
    device: Id16
    subsystem_vendor: Id16 = 0x10DE
    subsystem_device: Id16
    class_code: Annotated[int, Field(ge=0, le=0xFFFFFF)]
    revision: Annotated[int, Field(ge=0, le=0xFF)] = 0xA1
    bars: tuple[BarSpec, ...]
    link_generation: Annotated[int, Field(ge=1, le=7)]
    link_width: Annotated[int, Field(ge=1, le=32)] = 16
    atomics_inbound: tuple[_Atomic, ...] | None = None  # None: not reported
    atomics_outbound: tuple[_Atomic, ...] | None = None

    @property
    def identity(self) -> PciIdentity:
        """The id registers as one value."""
        return PciIdentity(
            self.vendor,
            self.device,
            self.subsystem_vendor,
            self.subsystem_device,
            self.class_code,
            self.revision,
        )

    @property
    def nvml_device_id(self) -> int:
        """`pciDeviceId` as NVML gives it: device in the high half, vendor in the low."""
        return self.device << 16 | self.vendor

    @property
    def nvml_subsystem_id(self) -> int:
        """`pciSubSystemId` as NVML gives it."""
        return self.subsystem_device << 16 | self.subsystem_vendor

    @property
    def inbound_atomics_mask(self) -> int | None:
        """`NVML_FI_DEV_PCIE_INBOUND_ATOMICS_MASK`, None where the board does not report it."""
        return _mask(self.atomics_inbound)

    @property
    def outbound_atomics_mask(self) -> int | None:
        """`NVML_FI_DEV_PCIE_OUTBOUND_ATOMICS_MASK`, None where the board does not report it."""
        return _mask(self.atomics_outbound)


def _mask(atomics: tuple[PcieAtomic, ...] | None) -> int | None:
    return None if atomics is None else reduce(or_, (int(each) for each in atomics), 0)
