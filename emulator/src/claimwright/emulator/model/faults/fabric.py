"""Faults of the NVLink fabric beyond its links: health, registration, fabric manager, IMEX."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Annotated

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model.change import Change, gpu_at
from claimwright.emulator.model.fabric import Fabric, FabricHealth, FabricMisconfiguration, FabricState
from claimwright.emulator.model.fabric.membership import HEALTHY, ZERO_CLUSTER
from claimwright.emulator.model.faults.fault import BY_REBOOT, Fault, GpuFault, changed_gpu
from claimwright.emulator.model.rules import Field
from claimwright.emulator.model.state import NodeState

_UNKNOWN_STATUS = 999  # NVML_ERROR_UNKNOWN


class FabricIllness(StrEnum):
    """What can be wrong with a GPU's place in the fabric (NVML_GPU_FABRIC_HEALTH_MASK_*)."""

    BANDWIDTH = "bandwidth"
    ROUTE_RECOVERY = "route-recovery"
    ROUTE = "route"
    ACCESS_TIMEOUT = "access-timeout"
    CONFIGURATION = "configuration"


class FabricDegraded(GpuFault):
    """The GPU is in the fabric, and something there is not as it should be."""

    name = "fabric-degraded"
    summary = "the GPU's place in the NVLink fabric is unhealthy"
    faces = "NVML fabric info v2 to v4: health mask and summary; nvidia-smi -q"
    cured_by = BY_REBOOT

    what: Annotated[FabricIllness, Field(description="what is wrong")] = FabricIllness.BANDWIDTH

    def strike(self, state: NodeState) -> Change[None]:
        """Refuse it where there is no fabric."""
        _fabric_of(state, self.gpu)
        return Change(state, None)

    def hold(self, state: NodeState) -> NodeState:
        """Say it in the mask; what is well says so."""
        fabric = _fabric_of(state, self.gpu)
        health = self._ill(HEALTHY if fabric.health == FabricHealth() else fabric.health)
        return changed_gpu(state, self.gpu, fabric=replace(fabric, health=health))

    def release(self, state: NodeState) -> NodeState:
        """Be well: inside one machine, where no health is reported, say nothing."""
        fabric = _fabric_of(state, self.gpu)
        health = FabricHealth() if fabric.cluster_uuid == ZERO_CLUSTER else HEALTHY
        return changed_gpu(state, self.gpu, fabric=replace(fabric, health=health))

    def _ill(self, health: FabricHealth) -> FabricHealth:
        match self.what:
            case FabricIllness.BANDWIDTH:
                return replace(health, degraded_bandwidth=True)
            case FabricIllness.ROUTE_RECOVERY:
                return replace(health, route_recovery=True)
            case FabricIllness.ROUTE:
                return replace(health, route_unhealthy=True)
            case FabricIllness.ACCESS_TIMEOUT:
                return replace(health, access_timeout_recovery=True)
            case FabricIllness.CONFIGURATION:
                return replace(health, misconfiguration=FabricMisconfiguration.INSUFFICIENT_NVLINKS)


class UnfinishedState(StrEnum):
    """How far the registration came."""

    NOT_STARTED = "not-started"
    IN_PROGRESS = "in-progress"
    FAILED = "failed"


class FabricIncomplete(GpuFault):
    """The fabric manager has not let the GPU in."""

    name = "fabric-incomplete"
    summary = "the GPU's registration with the fabric has not started, is in progress, or failed"
    faces = "NVML fabric info: state, and status where it failed; nvidia-smi -q"
    cured_by = BY_REBOOT

    state: Annotated[UnfinishedState, Field(description="how far it came")] = UnfinishedState.IN_PROGRESS

    def strike(self, state: NodeState) -> Change[None]:
        """Refuse it where there is no fabric."""
        _fabric_of(state, self.gpu)
        return Change(state, None)

    def hold(self, state: NodeState) -> NodeState:
        """Go back to that point."""
        fabric = _fabric_of(state, self.gpu)
        match self.state:
            case UnfinishedState.NOT_STARTED:
                fabric = replace(fabric, state=FabricState.NOT_STARTED)
            case UnfinishedState.IN_PROGRESS:
                fabric = replace(fabric, state=FabricState.IN_PROGRESS)
            case UnfinishedState.FAILED:
                fabric = replace(fabric, state=FabricState.COMPLETED, status=_UNKNOWN_STATUS)
        return changed_gpu(state, self.gpu, fabric=fabric)

    def release(self, state: NodeState) -> NodeState:
        """Complete it."""
        fabric = replace(_fabric_of(state, self.gpu), state=FabricState.COMPLETED, status=0)
        return changed_gpu(state, self.gpu, fabric=fabric)


class FabricManagerGone(Fault):
    """nv-fabricmanager is dead: routes stay, partition calls fail."""

    name = "fabric-manager-gone"
    summary = "nv-fabricmanager dies: routes stay, nobody answers partition calls until it is started again"
    faces = "fabric partition calls refused; node inspect"
    cured_by = BY_REBOOT

    def strike(self, state: NodeState) -> Change[None]:
        """Refuse it where none runs."""
        if state.fabric_manager is None or not state.fabric_manager.running:
            raise OperationRefused(Refusal.NOT_SUPPORTED, f"no fabric manager runs on node {state.name!r}")
        return Change(state, None)

    def hold(self, state: NodeState) -> NodeState:
        """Stop it."""
        return _with_manager(state, running=False)

    def release(self, state: NodeState) -> NodeState:
        """Start it."""
        return _with_manager(state, running=True)


class ImexPeerLoss(Fault):
    """The node's nvidia-imex ends: the other nodes of its domain lose a peer."""

    name = "imex-peer-loss"
    summary = "this node's nvidia-imex stops: to its peers it is lost, until it is started again"
    faces = "nvidia-imex-ctl here and on every peer, IMEX state of the domain"
    cured_by = BY_REBOOT

    def strike(self, state: NodeState) -> Change[None]:
        """Refuse it where none runs."""
        if state.imex is None or not state.imex.running:
            raise OperationRefused(
                Refusal.INVALID_STATE,
                f"nvidia-imex does not run on node {state.name!r}: configure and start it",
            )
        return Change(state, None)

    def hold(self, state: NodeState) -> NodeState:
        """Stop it."""
        return _with_imex(state, running=False)

    def release(self, state: NodeState) -> NodeState:
        """Start it."""
        return _with_imex(state, running=True)


def _with_manager(state: NodeState, *, running: bool) -> NodeState:
    manager = state.fabric_manager
    return state if manager is None else replace(state, fabric_manager=replace(manager, running=running))


def _with_imex(state: NodeState, *, running: bool) -> NodeState:
    return state if state.imex is None else replace(state, imex=replace(state.imex, running=running))


def _fabric_of(state: NodeState, gpu: int) -> Fabric:
    present = gpu_at(state, gpu)
    if present.fabric is None:
        raise OperationRefused(
            Refusal.NOT_SUPPORTED, f"GPU {gpu} ({present.board.name}) is in no NVLink fabric"
        )
    return present.fabric
