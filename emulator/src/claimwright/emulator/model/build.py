"""From a profile to the state of a node that has just booted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from claimwright.emulator.errors import ProfileError
from claimwright.emulator.model import identity
from claimwright.emulator.model.agreement import check_agreement
from claimwright.emulator.model.board import Board
from claimwright.emulator.model.bus import presence
from claimwright.emulator.model.catalogue import load_board, varied_board
from claimwright.emulator.model.fabric import (
    Fabric,
    FabricManager,
    FabricState,
    ImexChannels,
    Tray,
    standard_partitions,
)
from claimwright.emulator.model.fabric.routing import routed
from claimwright.emulator.model.mig.instances import Mig
from claimwright.emulator.model.node_profile import (
    BoardVariant,
    GpuSlot,
    NicSlot,
    NodeProfile,
    NvSwitchSlot,
    endpoints,
)
from claimwright.emulator.model.numa import memory_node, numa_nodes, with_machine_cpus
from claimwright.emulator.model.pci import FunctionKind, PciAddress, PciFunction
from claimwright.emulator.model.pci_tree import functions_of
from claimwright.emulator.model.readings import idle_clocks
from claimwright.emulator.model.state import (
    Ecc,
    GpuState,
    Nic,
    NodeState,
    NvSwitch,
    PowerReading,
    Temperatures,
)
from claimwright.emulator.model.wiring import nvlinks

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def build_node(
    profile: NodeProfile,
    name: str,
    *,
    boot: str = "0",
    first_iommu_group: int = 0,
    machine_cpus: str | None = None,
    board: Callable[[str], Board] = load_board,
) -> NodeState:
    """Return the idle state of a node.

    `boot` tells boots of one node apart (in its boot id only). `first_iommu_group` is where group numbers
    begin, for hosts that have groups of their own; `machine_cpus` the CPUs of such a host (a list), which then stand
    in for those of the profile. ProfileError names what does not fit together.
    """
    if not _NAME.fullmatch(name):
        raise ProfileError(
            f"{name!r} is no node name; expected lower-case letters, digits and '-', at most 63 (RFC 1123)"
        )
    slots = [slot for slot in endpoints(profile) if isinstance(slot, GpuSlot)]
    own = {each.key: each for each in profile.boards}
    boards = {slot.board: _board(slot.board, own, board) for slot in slots}
    check_agreement(profile, slots, boards)
    functions = functions_of(profile, boards)
    nvswitches = _nvswitches(profile, name)
    manager = _fabric_manager(profile)
    gpus = _gpus(profile, name, boards, functions, nvswitches)
    numa = numa_nodes(profile, slots, boards)
    state = NodeState(
        name=name,
        profile=profile.key,
        title=profile.title,
        driver_version=profile.driver_version,
        cuda_driver_version=profile.cuda_driver_version,
        machine=profile.machine,
        boot_id=identity.boot_id(name, boot),
        numa=numa if machine_cpus is None else with_machine_cpus(numa, machine_cpus),
        functions=functions,
        gpus=tuple(routed(gpu, manager) for gpu in gpus),
        nvswitches=nvswitches,
        nics=_nics(profile, name, functions),
        vgpu_manager=profile.vgpu_manager,
        fabric_manager=manager,
        imex_channels=_channels(profile),
        tray=_tray(profile),
        unverified=profile.unverified,
    )
    return presence.booted(state, first_iommu_group)


def _board(key: str, own: Mapping[str, BoardVariant], known: Callable[[str], Board]) -> Board:
    variant = own.get(key)
    return known(key) if variant is None else varied_board(variant.like, key, variant.differs)


def _nvswitches(profile: NodeProfile, name: str) -> tuple[NvSwitch, ...]:
    slots = (slot for slot in endpoints(profile) if isinstance(slot, NvSwitchSlot))
    return tuple(
        NvSwitch(index, identity.nvswitch_uuid(name, index), PciAddress.parse(slot.at), slot.physical_id)
        for index, slot in enumerate(slots)
    )


def _nics(profile: NodeProfile, name: str, functions: tuple[PciFunction, ...]) -> tuple[Nic, ...]:
    numa = {function.address: function.numa_node for function in functions}
    slots = [slot for slot in endpoints(profile) if isinstance(slot, NicSlot)]
    return tuple(
        Nic(
            name=slot.name,
            model=slot.model,
            pci=at,
            numa_node=numa[at],
            link_layer=slot.link_layer,
            guid=identity.node_guid(name, slot.name),
            manages_nvlink=slot.manages_nvlink,
        )
        for slot in slots
        for at in (PciAddress.parse(slot.at),)
    )


def _gpus(
    profile: NodeProfile,
    name: str,
    boards: Mapping[str, Board],
    functions: tuple[PciFunction, ...],
    nvswitches: tuple[NvSwitch, ...],
) -> tuple[GpuState, ...]:
    at = {function.address: function for function in functions if function.kind is FunctionKind.GPU}
    slots = [slot for slot in endpoints(profile) if isinstance(slot, GpuSlot)]
    serials = _serials(name, slots)
    idle = (
        _idle_gpu(name, index, slot, _revised(boards[slot.board], slot.board_part), serials[index])
        for index, slot in enumerate(slots)
    )
    return tuple(
        replace(
            gpu,
            numa_node=at[gpu.pci].numa_node,
            link_generation=at[gpu.pci].trained_generation,
            link_width=at[gpu.pci].trained_width,
            memory_node=memory_node(profile, slots, boards, str(gpu.pci)),
            persistence_mode=profile.persistence_mode,
            nvlinks=tuple(nvlinks(profile, gpu.index, gpu.board, nvswitches)),
            fabric=_fabric(profile, gpu.board),
        )
        for gpu in idle
    )


def _serials(name: str, slots: Sequence[GpuSlot]) -> list[str]:
    """Give one serial number to each GPU, but one to all on the same carrier."""
    first: dict[int, int] = {}
    owners = (
        index if slot.carrier is None else first.setdefault(slot.carrier, index)
        for index, slot in enumerate(slots)
    )
    return [identity.serial(name, owner) for owner in owners]


def _revised(board: Board, part: str | None) -> Board:
    """Return the board under the part number of another revision."""
    if part is None:
        return board
    return board.model_copy(update={"parts": board.parts.model_copy(update={"board": part})})


def _idle_gpu(name: str, index: int, slot: GpuSlot, board: Board, serial: str) -> GpuState:
    power = board.power
    return GpuState(
        index=index,
        minor=index,
        uuid=identity.gpu_uuid(name, index),
        serial=serial,
        board=board,
        pci=PciAddress.parse(slot.at),
        numa_node=-1,
        module_id=_module_id(index, slot),
        power=PowerReading(round(power.idle_watts * 1000), power.default_watts * 1000),
        clocks=idle_clocks(board),
        temperature=Temperatures(board.thermals.idle, board.thermals.memory_idle),
        performance_state=board.idle_performance_state,
        ecc=Ecc(current=True, pending=True) if board.memory.ecc else None,
        mig=Mig() if board.mig_capable else None,
    )


def _fabric(profile: NodeProfile, board: Board) -> Fabric | None:
    if profile.fabric is None or not board.fabric_capable:
        return None
    state = FabricState[profile.fabric.state.upper()]
    health = profile.fabric.healthy
    return Fabric(state, profile.fabric.cluster_uuid, profile.fabric.clique_id, health=health)


def _fabric_manager(profile: NodeProfile) -> FabricManager | None:
    if profile.fabric_manager is None:
        return None
    slots = [slot for slot in endpoints(profile) if isinstance(slot, GpuSlot)]
    modules = [_module_id(index, slot) for index, slot in enumerate(slots)]
    return FabricManager(profile.fabric_manager.mode, standard_partitions(modules))


def _module_id(index: int, slot: GpuSlot) -> int:
    return index + 1 if slot.module_id is None else slot.module_id


def _channels(profile: NodeProfile) -> ImexChannels:
    first = profile.imex.create_channel0
    return ImexChannels(profile.imex.channel_count, first, frozenset({0} if first else ()))


def _tray(profile: NodeProfile) -> Tray | None:
    place = profile.tray
    return None if place is None else Tray(place.chassis_serial, place.slot, place.index, place.host_id)
