"""One board model as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from claimwright.emulator.model.board.clocks import ApplicationClocks, ClockRange, Clocks
from claimwright.emulator.model.board.contradictions import contradictions_of
from claimwright.emulator.model.board.names import AddressingMode, Architecture, Brand, C2cMode, FabricGuid
from claimwright.emulator.model.board.registers import BoardPci
from claimwright.emulator.model.board.sections import Engines, Memory, NvLinkSpec, Parts, Power
from claimwright.emulator.model.board.thermals import Thermals
from claimwright.emulator.model.mig.profiles import MigSpec
from claimwright.emulator.model.profile_text import Place, Profile, by_name
from claimwright.emulator.model.rules import BeforeValidator, Field, NonNegativeInt
from claimwright.emulator.model.vgpu.spec import VgpuSpec


def _capability(value: object) -> object:
    """Read `"9.0"` as (9, 0)."""
    if isinstance(value, str) and (parts := value.split("."))[1:] and all(part.isdigit() for part in parts):
        return tuple(int(part) for part in parts)
    return value


class Board(Profile):
    """One board model, such as the SXM5 module of an H100.

    A field that is None or at its default stands for something that the hardware does not report.
    """

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
    default_application_clocks: ApplicationClocks | None = None  # None: the highest
    supported_clocks: Annotated[tuple[ClockRange, ...], Field(min_length=1, max_length=8)]
    idle_performance_state: Annotated[int, Field(ge=0, le=15)]
    thermals: Thermals
    engines: Engines
    addressing_mode: Annotated[AddressingMode, by_name(AddressingMode)] | None
    mig_capable: bool
    coherent_memory: bool = False  # the CPUs see it as NUMA nodes of its own
    c2c: Annotated[C2cMode, by_name(C2cMode)] | None = None
    fabric_capable: bool = False
    fabric_guid: Annotated[FabricGuid, by_name(FabricGuid)] | None = None
    sparse_operation_mode: bool = False
    black_box: bool = False  # the InfoROM keeps a flight recorder (BBX)
    fans: NonNegativeInt = 0
    nvlink: NvLinkSpec | None = None
    mig: MigSpec | None = None
    vgpu: VgpuSpec | None = None
    unverified: tuple[str, ...] = ()

    @property
    def application_clocks(self) -> ApplicationClocks:
        """The clocks that applications get by default."""
        top = self.max_clocks
        return self.default_application_clocks or ApplicationClocks(graphics=top.graphics, memory=top.memory)

    def contradictions(self) -> Iterator[tuple[Place, str]]:
        """Yield what the board says against itself."""
        yield from contradictions_of(self)
