"""The words that a board profile chooses from, with NVML's numbers where NVML has them (nvml.h 13.5)."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Architecture(IntEnum):
    """`nvmlDeviceArchitecture_t`."""

    TURING = 6
    AMPERE = 7
    ADA = 8
    HOPPER = 9
    BLACKWELL = 10


class Brand(IntEnum):
    """`nvmlBrandType_t`, those that data-centre boards report."""

    QUADRO = 1
    TESLA = 2
    NVIDIA_RTX = 13
    NVIDIA = 14


class AddressingMode(IntEnum):
    """`nvmlDeviceAddressingModeType_t`."""

    NONE = 0
    HMM = 1
    ATS = 2


class C2cMode(IntEnum):
    """`isC2cEnabled` of `nvmlC2cModeInfo_v1_t`; a board that knows no C2C answers NOT_SUPPORTED instead."""

    DISABLED = 0
    ENABLED = 1


class PcieAtomic(IntEnum):
    """`NVML_PCIE_ATOMICS_CAP_*`: one bit per operation that the link carries."""

    FETCHADD_32 = 0x01
    FETCHADD_64 = 0x02
    SWAP_32 = 0x04
    SWAP_64 = 0x08
    CAS_32 = 0x10
    CAS_64 = 0x20
    CAS_128 = 0x40


class SramNaming(StrEnum):
    """How uncorrectable SRAM errors are told: Turing counts them as one, later chips by how they were found."""

    COMBINED = "combined"
    SPLIT = "split"  # parity and SEC-DED


class FabricGuid(StrEnum):
    """What `gpu_fabric_guid` holds: a number of its own (HGX B200), or the GPU's PDI (GB200), as captured."""

    OWN = "own"
    PDI = "pdi"
