"""A fault as a value: its parameters, and three pure functions that put it on a node and take it away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from claimwright.emulator.model.change import Change, EventKind, GpuEvent, gpu_at, with_gpu
from claimwright.emulator.model.checked import Checked
from claimwright.emulator.model.health import Health
from claimwright.emulator.model.rules import Field
from claimwright.emulator.model.state import GpuState, NodeState

GpuIndex = Annotated[int, Field(ge=0, description="index of the GPU, in PCI order")]


class Cure(StrEnum):
    """What ends a fault, beside `fault clear`; the least first."""

    RESET = "reset"  # nvidia-smi --gpu-reset
    DRIVER_RELOAD = "driver reload"
    REBOOT = "reboot"


RESETTABLE = frozenset({Cure.RESET, Cure.DRIVER_RELOAD, Cure.REBOOT})
BY_REBOOT = frozenset({Cure.REBOOT})
BY_RELOAD = frozenset({Cure.DRIVER_RELOAD, Cure.REBOOT})
BY_REPAIR: frozenset[Cure] = frozenset()


def in_order(cures: frozenset[Cure]) -> tuple[str, ...]:
    """Return the names of cures, the least first."""
    return tuple(cure.value for cure in Cure if cure in cures)


class Fault(Checked):
    """One fault with its parameters.

    `strike` is what happens at once (counts, events; refuses what this board cannot have), `hold` the condition
    that lasts, which may be applied again at any time, and `release` its end. A fault that leaves no condition
    does not `last`.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    faces: ClassVar[str]
    cured_by: ClassVar[frozenset[Cure]] = RESETTABLE
    ends_with: ClassVar[Cure | None] = None  # clearing it is a cure for others on the same GPU, or on all

    @property
    def lasts(self) -> bool:
        """Whether it stays until cleared or cured."""
        return True

    @property
    def on_gpu(self) -> int | None:
        """The GPU that it is on, None for one of the whole node."""
        return None

    def strike(self, state: NodeState) -> Change[None]:
        """Return the node at the moment of the fault, with what NVML and the kernel log report."""
        return Change(state, None)

    def hold(self, state: NodeState) -> NodeState:
        """Return the node with the condition in force; idempotent."""
        return state

    def release(self, state: NodeState) -> NodeState:
        """Return the node without it; other faults that hold the same are applied again by the caller."""
        return state

    def parameters(self) -> Mapping[str, Any]:
        """Return what it was injected with, as JSON."""
        return self.model_dump(mode="json", exclude_none=True)


class GpuFault(Fault):
    """A fault of one GPU."""

    gpu: GpuIndex

    @property
    def on_gpu(self) -> int | None:
        """Return the GPU's index."""
        return self.gpu


@dataclass(frozen=True, slots=True)
class ActiveFault:
    """A fault in force; `number` is unique for the life of the node."""

    number: int
    fault: Fault


def with_health(state: NodeState, gpu: int, **changes: Any) -> NodeState:  # noqa: ANN401 - members of Health
    """Return the node with some of a GPU's health changed."""
    return changed_gpu(state, gpu, health=replace(gpu_at(state, gpu).health, **changes))


def changed_gpu(state: NodeState, gpu: int, **changes: Any) -> NodeState:  # noqa: ANN401 - members of GpuState
    """Return the node with some members of a GPU changed."""
    return with_gpu(state, replace(gpu_at(state, gpu), **changes))


def health_of(state: NodeState, gpu: int) -> Health:
    """Return a GPU's health; OperationRefused NOT_FOUND when there is no such GPU."""
    return gpu_at(state, gpu).health


def xid(
    gpu: GpuState, code: int, *, gpu_instance: int | None = None, compute_instance: int | None = None
) -> GpuEvent:
    """Return the event that the driver reports an XID with."""
    return GpuEvent(gpu.index, EventKind.XID, code, gpu_instance, compute_instance)
