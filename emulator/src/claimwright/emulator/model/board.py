"""What a board is: what its data sheet, its VBIOS and NVML agree on. Text profiles live in `boards/`."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Annotated

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt

from claimwright.emulator.model.pci import PciIdentity
from claimwright.emulator.model.profile_text import Place, Profile, by_name
from claimwright.emulator.model.vgpu.spec import VgpuSpec

MIB = 1 << 20


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


Celsius = Annotated[int, Field(ge=-40, le=150)]
Id16 = Annotated[int, Field(ge=0, le=0xFFFF)]


def _capability(value: object) -> object:
    """Read `"9.0"` as (9, 0)."""
    if isinstance(value, str) and (parts := value.split("."))[1:] and all(part.isdigit() for part in parts):
        return tuple(int(part) for part in parts)
    return value


class BarSpec(Profile):
    """One base address register the board asks for."""

    index: Annotated[int, Field(ge=0, le=5)]
    mib: PositiveInt
    wide: bool = True  # 64 bit: takes the next index too
    prefetchable: bool = True

    @property
    def flags(self) -> int:
        """The kernel's resource flags (linux/ioport.h): MEM, SIZEALIGN, MEM_64, PREFETCH and the raw bits."""
        plain = 0x00000200 | 0x00040000
        return plain | (0x00100004 if self.wide else 0) | (0x00002008 if self.prefetchable else 0)


class BoardPci(Profile):
    """The id registers, BARs and the link that the board can train to."""

    vendor: Id16 = 0x10DE
    device: Id16
    subsystem_vendor: Id16 = 0x10DE
    subsystem_device: Id16
    class_code: Annotated[int, Field(ge=0, le=0xFFFFFF)]
    revision: Annotated[int, Field(ge=0, le=0xFF)] = 0xA1
    bars: tuple[BarSpec, ...]
    link_generation: Annotated[int, Field(ge=1, le=7)]
    link_width: Annotated[int, Field(ge=1, le=32)] = 16

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
    """Frame buffer and BAR1, MiB."""

    total_mib: PositiveInt
    reserved_mib: NonNegativeInt
    bar1_mib: PositiveInt
    bus_width_bits: PositiveInt
    ecc: bool = True
    remap_banks: NonNegativeInt = 0

    @property
    def total_bytes(self) -> int:
        """All of the frame buffer, reserved part included."""
        return self.total_mib * MIB

    @property
    def reserved_bytes(self) -> int:
        """What the driver and firmware keep for themselves."""
        return self.reserved_mib * MIB

    @property
    def usable_bytes(self) -> int:
        """What processes can allocate."""
        return (self.total_mib - self.reserved_mib) * MIB


class Power(Profile):
    """Board power, watts."""

    idle_watts: Annotated[float, Field(gt=0)]
    min_watts: PositiveInt
    default_watts: PositiveInt
    max_watts: PositiveInt


class Clocks(Profile):
    """One clock per domain, MHz."""

    graphics: PositiveInt
    sm: PositiveInt
    memory: PositiveInt
    video: PositiveInt


class ClockRange(Profile):
    """The graphics clocks that go with one memory clock, MHz."""

    memory: PositiveInt
    lowest: PositiveInt
    highest: PositiveInt
    step: PositiveInt = 15

    @property
    def graphics(self) -> tuple[int, ...]:
        """All graphics clocks, highest first, as NVML lists them."""
        return tuple(range(self.highest, self.lowest - 1, -self.step))


class Thermals(Profile):
    """Temperatures, °C; Ada and later report thresholds as distance to the limit (T.Limit)."""

    idle: Celsius
    memory_idle: Celsius | None = None
    limit_at: Celsius  # the temperature at which T.Limit reads 0
    shutdown_tlimit: Celsius
    slowdown_tlimit: Celsius
    max_operating_tlimit: Celsius = 0


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


class Board(Profile):
    """One board model, such as the SXM5 module of an H100."""

    key: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    name: Annotated[str, Field(min_length=1, max_length=63)]  # NVML's name buffer holds 64 bytes
    brand: Annotated[Brand, by_name(Brand)]
    architecture: Annotated[Architecture, by_name(Architecture)]
    cuda_capability: Annotated[tuple[int, int], BeforeValidator(_capability)]
    pci: BoardPci
    parts: Parts
    memory: Memory
    power: Power
    idle_clocks: Clocks
    max_clocks: Clocks
    supported_clocks: tuple[ClockRange, ...] = Field(min_length=1)
    idle_performance_state: Annotated[int, Field(ge=0, le=15)]
    thermals: Thermals
    engines: Engines
    addressing_mode: Annotated[AddressingMode, by_name(AddressingMode)] | None
    mig_capable: bool
    c2c_supported: bool = False  # whether NVML reports a C2C mode (on discrete boards: disabled)
    fabric_capable: bool = False
    fans: NonNegativeInt = 0
    nvlink: NvLinkSpec | None = None
    vgpu: VgpuSpec | None = None
    unverified: tuple[str, ...] = ()

    def contradictions(self) -> Iterator[tuple[Place, str]]:
        """Yield what the board says against itself."""
        yield from _memory_faults(self)
        yield from _power_faults(self)
        yield from _clock_faults(self)
        yield from _register_faults(self)
        yield from _vgpu_faults(self)
        for index, path in enumerate(self.unverified):
            if not _has_field(self, path):
                yield ("unverified", index), f"{path!r} names no field of this board"


def _memory_faults(board: Board) -> Iterator[tuple[Place, str]]:
    memory = board.memory
    if memory.reserved_mib >= memory.total_mib:
        yield (
            ("memory", "reserved_mib"),
            f"{memory.reserved_mib} MiB reserved of {memory.total_mib} MiB leave nothing",
        )
    if memory.bar1_mib not in {bar.mib for bar in board.pci.bars}:
        yield ("memory", "bar1_mib"), f"no BAR under pci.bars has {memory.bar1_mib} MiB"


def _power_faults(board: Board) -> Iterator[tuple[Place, str]]:
    power = board.power
    if not power.min_watts <= power.default_watts <= power.max_watts:
        yield (
            ("power", "default_watts"),
            f"{power.default_watts} W lies outside {power.min_watts}..{power.max_watts} W",
        )
    if power.idle_watts > power.default_watts:
        yield (
            ("power", "idle_watts"),
            f"{power.idle_watts} W idle exceed the default limit {power.default_watts} W",
        )


def _clock_faults(board: Board) -> Iterator[tuple[Place, str]]:
    top = board.max_clocks
    for domain in Clocks.model_fields:
        if getattr(board.idle_clocks, domain) > getattr(top, domain):
            yield ("idle_clocks", domain), f"idle is above max_clocks.{domain} ({getattr(top, domain)} MHz)"
    for index, supported in enumerate(board.supported_clocks):
        if supported.memory > top.memory:
            yield ("supported_clocks", index, "memory"), f"{supported.memory} MHz is above max_clocks.memory"
        if not supported.lowest <= supported.highest <= top.graphics:
            yield ("supported_clocks", index, "highest"), "expected lowest <= highest <= max_clocks.graphics"


def _register_faults(board: Board) -> Iterator[tuple[Place, str]]:
    taken: dict[int, int] = {}
    for index, bar in enumerate(board.pci.bars):
        for slot in (bar.index, bar.index + 1) if bar.wide else (bar.index,):
            if slot > 5 or slot in taken:
                yield ("pci", "bars", index), f"register {slot} is beyond 5 or taken by a BAR before"
            taken[slot] = index
    if board.fabric_capable and board.nvlink is None:
        yield ("fabric_capable",), "a board without nvlink cannot join a fabric"
    if not board.parts.gpu.startswith(f"{board.pci.device:04X}-"):
        yield (
            ("parts", "gpu"),
            f"GPU part number {board.parts.gpu} does not begin with the device id {board.pci.device:04X}",
        )


def _vgpu_faults(board: Board) -> Iterator[tuple[Place, str]]:
    if board.vgpu is not None:
        nominal = -(-board.memory.total_bytes // 10**9)  # types are named after the board's decimal gigabytes
        for place, sentence in board.vgpu.faults(nominal):
            yield ("vgpu", *place), sentence


def _has_field(value: object, path: str) -> bool:
    for name in path.split("."):
        if not isinstance(value, Profile) or name not in type(value).model_fields:
            return False
        value = getattr(value, name)
    return True
