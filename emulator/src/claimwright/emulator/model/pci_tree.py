"""From the profile's PCI tree to the functions that sysfs shows: paths, BARs, isolation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from claimwright.emulator.model.board import MIB, BarSpec, Board
from claimwright.emulator.model.node_profile import (
    AudioSlot,
    BridgeSlot,
    GpuSlot,
    NicSlot,
    NodeProfile,
    Root,
    Slot,
)
from claimwright.emulator.model.pci import Bar, FunctionKind, PciAddress, PciFunction, PciIdentity, Sriov

_WINDOW = 1 << 41  # each root complex decodes 2 TiB, above what an x86 host maps for itself
_LOW_WINDOW = 0x8000_0000
_NVSWITCH_BARS = (BarSpec(index=0, mib=32, wide=True, prefetchable=False),)
_VIRTUAL_BAR = BarSpec(index=0, mib=16, wide=True)
_VIRTUAL_OFFSET = 4  # the first virtual function of an L40S or H200 is at function .4 (captures)
_NIC_BARS = (BarSpec(index=0, mib=32),)
_AUDIO_BARS = (BarSpec(index=0, kib=16, wide=False, prefetchable=False),)


@dataclass(frozen=True, slots=True)
class _Nature:
    """What the registers of a slot say, before addresses are assigned."""

    kind: FunctionKind
    identity: PciIdentity
    bars: tuple[BarSpec, ...]
    link_generation: int
    virtual: int = 0
    link_width: int = 16


def functions_of(profile: NodeProfile, boards: Mapping[str, Board]) -> tuple[PciFunction, ...]:
    """Return every function, sorted by address."""
    found = [
        function for index, root in enumerate(profile.roots) for function in _below_root(root, boards, index)
    ]
    found.sort(key=lambda function: function.address)
    apart = _isolation(found) if profile.iommu else {}
    return tuple(
        replace(function, isolation=apart.get(function.address), irq=32 + index)
        for index, function in enumerate(found)
    )


def _isolation(functions: Sequence[PciFunction]) -> dict[PciAddress, int]:
    """Number what the IOMMU tells apart: a board's sound function has no ACS and shares the GPU's number."""
    numbers: dict[PciAddress, int] = {}
    for number, function in enumerate(functions):
        with_gpu = numbers.get(replace(function.address, function=0))
        shares = function.kind is FunctionKind.AUDIO and with_gpu is not None
        numbers[function.address] = with_gpu if shares and with_gpu is not None else number
    return numbers


def _below_root(root: Root, boards: Mapping[str, Board], index: int) -> Iterator[PciFunction]:
    cursor = _Cursor(high=_WINDOW * (index + 4), low=_LOW_WINDOW + index * 0x0400_0000)
    for slot, path, above in _walk(root.ports, (f"pci{root.root}",), None):
        nature = _nature(slot, boards)
        trained = nature.link_generation if above is None else min(nature.link_generation, above)
        yield PciFunction(
            address=PciAddress.parse(slot.at),
            kind=nature.kind,
            identity=nature.identity,
            path=path,
            numa_node=root.numa,
            bars=tuple(cursor.place(bar) for bar in nature.bars),
            sriov=_sriov(nature, cursor),
            isolation=None,
            irq=0,
            link_generation=nature.link_generation,
            link_width=nature.link_width,
            secondary_bus=PciAddress.parse(slot.behind[0].at).bus if isinstance(slot, BridgeSlot) else None,
            trained_generation=trained,
            trained_width=_trained_width(slot) or nature.link_width,
        )


def _walk(
    slots: tuple[Slot, ...], path: tuple[str, ...], above: int | None
) -> Iterator[tuple[Slot, tuple[str, ...], int | None]]:
    """Yield each slot with its path and the generation of the link's upper end."""
    for slot in slots:
        here = (*path, slot.at)
        yield slot, here, above
        if isinstance(slot, BridgeSlot):
            yield from _walk(slot.behind, here, slot.link_generation)


def _trained_width(slot: Slot) -> int | None:
    return slot.link_width if isinstance(slot, GpuSlot) else None


def _nature(slot: Slot, boards: Mapping[str, Board]) -> _Nature:
    if isinstance(slot, BridgeSlot):
        identity = PciIdentity(slot.vendor, slot.device, 0, 0, 0x060400, 0x04)
        return _Nature(FunctionKind.BRIDGE, identity, (), slot.link_generation)
    if isinstance(slot, GpuSlot):
        pci, vgpu = boards[slot.board].pci, boards[slot.board].vgpu
        virtual = 0 if vgpu is None else vgpu.virtual_functions
        return _Nature(FunctionKind.GPU, pci.identity, pci.bars, pci.link_generation, virtual, pci.link_width)
    if isinstance(slot, NicSlot):
        code = 0x020700 if slot.link_layer == "infiniband" else 0x020000
        identity = PciIdentity(slot.vendor, slot.device, slot.vendor, slot.subsystem_device, code, 0)
        return _Nature(FunctionKind.NIC, identity, _NIC_BARS, slot.link_generation)
    if isinstance(slot, AudioSlot):
        identity = PciIdentity(0x10DE, slot.device, 0x10DE, 0, 0x040300, 0xA1)
        return _Nature(FunctionKind.AUDIO, identity, _AUDIO_BARS, 4)
    identity = PciIdentity(0x10DE, slot.device, 0x10DE, 0x1796, 0x068000, 0xA1)
    return _Nature(FunctionKind.NVSWITCH, identity, _NVSWITCH_BARS, 4)


def _sriov(nature: _Nature, cursor: _Cursor) -> Sriov | None:
    """Return the capability of a board with virtual functions: they keep the device id of their owner."""
    if not nature.virtual:
        return None
    window = cursor.place(BarSpec(index=0, mib=_VIRTUAL_BAR.mib * _padded(nature.virtual), wide=True))
    bar = replace(window, size_bytes=_VIRTUAL_BAR.mib * MIB)
    return Sriov(nature.virtual, _VIRTUAL_OFFSET, 1, nature.identity.device, (bar,))


def _padded(count: int) -> int:
    """Round up to a power of two: windows are naturally aligned."""
    return 1 << (count - 1).bit_length()


@dataclass(slots=True)
class _Cursor:
    """Where the next BAR goes: prefetchable and 64-bit ones high, the rest below 4 GiB, naturally aligned."""

    high: int
    low: int

    def place(self, bar: BarSpec) -> Bar:
        size = bar.size_bytes
        at = self.high if bar.wide else self.low
        start = (at + size - 1) // size * size
        if bar.wide:
            self.high = start + size
        else:
            self.low = start + size
        return Bar(bar.index, start, size, bar.flags)
