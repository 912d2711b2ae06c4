"""Parts, memory, power, engines and NVLink ports of a board."""

from __future__ import annotations

from typing import Annotated

from claimwright.emulator.model.board.names import SramNaming
from claimwright.emulator.model.profile_text import Profile, by_name
from claimwright.emulator.model.rules import Field, NonNegativeInt, PositiveInt

MIB = 1 << 20
Watts = Annotated[float, Field(gt=0)]


class Parts(Profile):
    """Part numbers and firmware versions."""

    board: str
    gpu: str
    vbios: Annotated[str, Field(pattern=r"^[0-9A-F]{2}(\.[0-9A-F]{2}){4}$")]
    inforom_image: str
    inforom_oem: str = ""
    inforom_ecc: str = ""
    inforom_power: str = ""


class Memory(Profile):
    """Frame buffer and BAR1, MiB, and how faulty cells are told and taken out of use."""

    total_mib: PositiveInt
    reserved_mib: NonNegativeInt
    bar1_mib: PositiveInt
    bar1_idle_mib: NonNegativeInt = 1  # of BAR1, what the driver itself maps
    bus_width_bits: PositiveInt
    ecc: bool = True
    remap_banks: NonNegativeInt = 0  # of the row remapper; 0: the board has none
    page_retirement: bool = False  # what boards had before the row remapper
    sram_errors: Annotated[SramNaming, by_name(SramNaming)] = SramNaming.SPLIT

    @property
    def total_bytes(self) -> int:
        """All of the frame buffer, reserved part included."""
        return self.total_mib * MIB

    @property
    def reserved_bytes(self) -> int:
        """What the driver and firmware keep for themselves: half a MiB less than nvidia-smi prints.

        On each captured board the printed reserved and free memory add up to one MiB more than all of it: both are
        rounded up.
        """
        return self.reserved_mib * MIB - MIB // 2 if self.reserved_mib else 0

    @property
    def usable_bytes(self) -> int:
        """What processes can allocate."""
        return self.total_bytes - self.reserved_bytes


class ModulePower(Profile):
    """Power of the whole module, processor included, watts."""

    idle_watts: Watts
    min_watts: PositiveInt
    default_watts: PositiveInt
    max_watts: PositiveInt


class Power(Profile):
    """Board power, watts."""

    idle_watts: Watts
    min_watts: PositiveInt
    default_watts: PositiveInt
    max_watts: PositiveInt
    average: bool = True  # whether a draw averaged over a second is told beside the instant one
    memory_idle_watts: Watts | None = None  # None: the memory's draw is not told
    module: ModulePower | None = None
    smoothing: bool = False


class Engines(Profile):
    """What computes, copies and codes."""

    multiprocessors: PositiveInt
    cuda_cores: PositiveInt
    copy_engines: NonNegativeInt
    encoders: NonNegativeInt
    decoders: NonNegativeInt
    jpeg_engines: NonNegativeInt
    optical_flow: NonNegativeInt


class NvLinkSpec(Profile):
    """The NVLink ports of a board."""

    version: Annotated[int, Field(ge=1, le=5)]
    links: Annotated[int, Field(ge=1, le=36)]  # NVML_NVLINK_MAX_LINKS, header 13.5
    megabytes_per_second: PositiveInt  # per link and direction
