"""What can be done to a node's fabric: membership and health, partitions, IMEX channels and the IMEX daemon.

Partition calls refuse as the fabric manager does (nv_fm_agent.h); the daemon's own state is in its process, here is
only what an administrator configures.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import replace

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model.change import Change, of_gpu
from claimwright.emulator.model.fabric import (
    Fabric,
    FabricHealth,
    FabricManager,
    FabricMode,
    FabricPartition,
    FabricState,
    ImexService,
    Quorum,
)
from claimwright.emulator.model.fabric.routing import routed
from claimwright.emulator.model.state import GpuState, NodeState

MOST_NODES = 64
_NODE = re.compile(r"[A-Za-z0-9.:_%-]{1,253}")


@of_gpu
def set_fabric(gpu: GpuState, progress: FabricState, status: int = 0) -> GpuState:
    """Set how far the GPU's fabric set-up is, and the NVML return code that it ended with."""
    if not 0 <= status <= 999:
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"fabric status {status}; expected 0..999 (nvmlReturn_t)"
        )
    return replace(gpu, fabric=replace(_fabric(gpu), state=FabricState(progress), status=status))


@of_gpu
def set_fabric_health(gpu: GpuState, health: FabricHealth) -> GpuState:
    """Set the fields of the GPU's fabric health mask; the summary follows from them."""
    return replace(gpu, fabric=replace(_fabric(gpu), health=health))


def join_fabric(state: NodeState, cluster_uuid: str, clique_id: int) -> Change[tuple[GpuState, ...]]:
    """Move all GPUs of the node into an NVLink domain and clique, as the rack's fabric manager does."""
    digits = cluster_uuid.replace("-", "")
    if len(digits) != 32 or any(digit not in "0123456789abcdef" for digit in digits):
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"cluster uuid {cluster_uuid!r}; expected 8-4-4-4-12 lower-case hex"
        )
    if not 0 <= clique_id < 1 << 32:
        raise OperationRefused(Refusal.INVALID_ARGUMENT, f"clique id {clique_id}; expected 0..4294967295")
    if not any(gpu.fabric for gpu in state.gpus):
        raise OperationRefused(Refusal.NOT_SUPPORTED, f"no GPU of node {state.name!r} can join a fabric")
    gpus = tuple(
        replace(gpu, fabric=replace(gpu.fabric, cluster_uuid=cluster_uuid, clique_id=clique_id))
        if gpu.fabric
        else gpu
        for gpu in state.gpus
    )
    return Change(replace(state, gpus=gpus), gpus)


def start_fabric_manager(state: NodeState, mode: FabricMode | None = None) -> Change[FabricManager]:
    """Start nv-fabricmanager, which sets up every GPU that waits; another `mode` forgets the active partitions."""
    manager = _manager(state)
    chosen = manager.mode if mode is None else FabricMode(mode)
    active = manager.active if chosen is manager.mode else frozenset()
    started = replace(manager, mode=chosen, active=active, running=True)
    gpus = tuple(_set_up(routed(gpu, started), started) for gpu in state.gpus)
    return Change(replace(state, fabric_manager=started, gpus=gpus), started)


def stop_fabric_manager(state: NodeState) -> Change[FabricManager]:
    """Stop nv-fabricmanager: routes stay in the switches, nobody answers partition calls."""
    stopped = replace(_manager(state), running=False)
    return Change(replace(state, fabric_manager=stopped), stopped)


def activate_partition(state: NodeState, partition: int) -> Change[FabricPartition]:
    """Route traffic between the GPUs of a partition; IN_USE when one of them is in an active partition already."""
    manager = sharing_manager(state)
    wanted = _partition(manager, partition)
    for module in wanted.modules:
        if (holder := manager.holding(module)) is not None:
            raise OperationRefused(
                Refusal.IN_USE,
                f"GPU module {module} is in active partition {holder.id}; deactivate that first",
            )
    return Change(_rerouted(state, manager.with_active(manager.active | {wanted.id}), wanted), wanted)


def deactivate_partition(state: NodeState, partition: int) -> Change[FabricPartition]:
    """Stop routing between the GPUs of a partition; INVALID_STATE when it is not active."""
    manager = sharing_manager(state)
    wanted = _partition(manager, partition)
    if wanted.id not in manager.active:
        raise OperationRefused(
            Refusal.INVALID_STATE, f"partition {wanted.id} is not active; active: {sorted(manager.active)}"
        )
    return Change(_rerouted(state, manager.with_active(manager.active - {wanted.id}), wanted), wanted)


def set_active_partitions(state: NodeState, partitions: Iterable[int]) -> Change[FabricManager]:
    """Tell a fabric manager that has just started which partitions are active; others are not."""
    manager = sharing_manager(state)
    wanted = [_partition(manager, number) for number in dict.fromkeys(partitions)]
    modules = [module for partition in wanted for module in partition.modules]
    for twice in sorted({module for module in modules if modules.count(module) > 1}):
        raise OperationRefused(Refusal.IN_USE, f"GPU module {twice} is in two of these partitions")
    changed = manager.with_active(partition.id for partition in wanted)
    gpus = tuple(routed(gpu, changed) for gpu in state.gpus)
    return Change(replace(state, fabric_manager=changed, gpus=gpus), changed)


def create_imex_channel(state: NodeState, channel: int) -> Change[int]:
    """Make the device node of an IMEX channel, as nvidia-modprobe does on demand; one that exists stays."""
    channels = state.imex_channels
    if not 0 <= channel < channels.count:
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT,
            f"IMEX channel {channel}; expected 0..{channels.count - 1} (NVreg_ImexChannelCount={channels.count})",
        )
    made = replace(channels, nodes=channels.nodes | {channel})
    return Change(replace(state, imex_channels=made) if made != channels else state, channel)


def configure_imex(
    state: NodeState,
    nodes: Iterable[str],
    address: str,
    *,
    server_port: int = 50000,
    command_port: int = 50005,
    quorum: Quorum = Quorum.RECOVERY,
    grace_seconds: int = -1,
    keepalive_ms: int = 1000,
    peer_timeout_ms: int = 5000,
) -> Change[ImexService]:
    """Write the configuration of the node's own nvidia-imex; a running one is restarted when it changes."""
    service = ImexService(
        tuple(nodes),
        address,
        server_port,
        command_port,
        Quorum(quorum),
        grace_seconds,
        keepalive_ms,
        peer_timeout_ms,
        running=state.imex is not None and state.imex.running,
    )
    _check_imex(service)
    return Change(replace(state, imex=service), service)


def start_imex(state: NodeState) -> Change[ImexService]:
    """Start the node's nvidia-imex (`systemctl start nvidia-imex`)."""
    return _run_imex(state, running=True)


def stop_imex(state: NodeState) -> Change[ImexService]:
    """Stop the node's nvidia-imex; its peers hear of it."""
    return _run_imex(state, running=False)


def _run_imex(state: NodeState, *, running: bool) -> Change[ImexService]:
    if state.imex is None:
        raise OperationRefused(
            Refusal.INVALID_STATE,
            f"node {state.name!r} has no IMEX configuration; configure_imex gives it one",
        )
    service = replace(state.imex, running=running)
    return Change(replace(state, imex=service) if service != state.imex else state, service)


def _check_imex(imex: ImexService) -> None:
    _check_addresses(imex)
    for name, port in (("server_port", imex.server_port), ("command_port", imex.command_port)):
        if not 1 <= port <= 65535:
            raise OperationRefused(Refusal.INVALID_ARGUMENT, f"{name} {port}; expected 1..65535")
    if imex.server_port == imex.command_port:
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"server and command port are both {imex.server_port}"
        )
    if not 10 <= imex.keepalive_ms <= imex.peer_timeout_ms <= 600_000:
        times = f"keepalive_ms {imex.keepalive_ms}, peer_timeout_ms {imex.peer_timeout_ms}"
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"{times}; expected 10 <= keepalive <= timeout <= 600000"
        )


def _check_addresses(imex: ImexService) -> None:
    try:
        ipaddress.ip_address(imex.address)
    except ValueError as error:
        raise OperationRefused(Refusal.INVALID_ARGUMENT, f"address: {error}") from None
    if not 1 <= len(imex.nodes) <= MOST_NODES or not all(_NODE.fullmatch(node) for node in imex.nodes):
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT,
            f"nodes {imex.nodes}: expected 1 to {MOST_NODES} addresses or host names",
        )


def _fabric(gpu: GpuState) -> Fabric:
    if gpu.fabric is None:
        raise OperationRefused(
            Refusal.NOT_SUPPORTED, f"GPU {gpu.index} ({gpu.board.name}) is in no NVLink fabric"
        )
    return gpu.fabric


def _manager(state: NodeState) -> FabricManager:
    if state.fabric_manager is None:
        raise OperationRefused(Refusal.NOT_SUPPORTED, f"node {state.name!r} has no fabric manager of its own")
    return state.fabric_manager


def sharing_manager(state: NodeState) -> FabricManager:
    """Return the fabric manager if partitions can be asked of it now; OperationRefused says why not."""
    manager = _manager(state)
    if not manager.running:
        raise OperationRefused(
            Refusal.NOT_READY, "the fabric manager does not run; start_fabric_manager starts it"
        )
    if manager.mode is not FabricMode.SHARED_NVSWITCH:
        raise OperationRefused(
            Refusal.NOT_SUPPORTED,
            f"partitions need mode shared_nvswitch; the fabric manager runs in {manager.mode}",
        )
    return manager


def _partition(manager: FabricManager, number: int) -> FabricPartition:
    found = manager.partition(number)
    if found is None:
        known = [each.id for each in manager.partitions]
        raise OperationRefused(Refusal.INVALID_ARGUMENT, f"no partition {number}; supported: {known}")
    return found


def _rerouted(state: NodeState, manager: FabricManager, partition: FabricPartition) -> NodeState:
    """Only the GPUs of this partition are touched: what others went through stays as it is."""
    gpus = tuple(routed(gpu, manager) if gpu.module_id in partition.modules else gpu for gpu in state.gpus)
    return replace(state, fabric_manager=manager, gpus=gpus)


def _set_up(gpu: GpuState, manager: FabricManager) -> GpuState:
    if gpu.fabric is None or manager.mode is not FabricMode.BARE_METAL:
        return gpu
    untrained = not any(link.active for link in gpu.nvlinks)
    nvlinks = tuple(replace(link, active=link.active or untrained) for link in gpu.nvlinks)
    return replace(gpu, nvlinks=nvlinks, fabric=replace(gpu.fabric, state=FabricState.COMPLETED, status=0))


OPERATIONS = (
    set_fabric,
    set_fabric_health,
    join_fabric,
    start_fabric_manager,
    stop_fabric_manager,
    activate_partition,
    deactivate_partition,
    set_active_partitions,
    create_imex_channel,
    configure_imex,
    start_imex,
    stop_imex,
)
