"""What an operation gives back: the next state, a value for its caller, and the events that NVML delivers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from typing import Concatenate, Generic, ParamSpec, TypeVar

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model.replacing import replaced
from claimwright.emulator.model.state import GpuState, NodeState

T_co = TypeVar("T_co", covariant=True)
P = ParamSpec("P")


class EventKind(IntFlag):
    """`nvmlEventType*` (nvml.h 13.5)."""

    SINGLE_BIT_ECC = 0x1
    DOUBLE_BIT_ECC = 0x2
    PERFORMANCE_STATE = 0x4
    XID = 0x8
    CLOCK = 0x10
    POWER_SOURCE = 0x80
    SINGLE_BIT_ECC_STORM = 0x200
    DRAM_RETIREMENT = 0x400
    DRAM_RETIREMENT_FAILURE = 0x800
    NON_FATAL_POISON = 0x1000
    FATAL_POISON = 0x2000
    UNAVAILABLE = 0x4000
    RECOVERY_ACTION = 0x8000


@dataclass(frozen=True, slots=True)
class GpuEvent:
    """Something that happened to a GPU; `data` is the XID of an XID event, instances are None outside MIG."""

    gpu: int
    kind: EventKind
    data: int = 0
    gpu_instance: int | None = None
    compute_instance: int | None = None


@dataclass(frozen=True, slots=True)
class Change(Generic[T_co]):
    """The outcome of an operation; the same state as before means that nothing changed."""

    state: NodeState
    value: T_co
    events: tuple[GpuEvent, ...] = ()


def gpu_at(state: NodeState, gpu: int) -> GpuState:
    """Return the GPU of this index; OperationRefused NOT_FOUND names the range."""
    if not 0 <= gpu < len(state.gpus):
        raise OperationRefused(Refusal.NOT_FOUND, f"no GPU {gpu}; this node has 0..{len(state.gpus) - 1}")
    return state.gpus[gpu]


def with_gpu(state: NodeState, changed: GpuState) -> NodeState:
    """Return the state with one GPU replaced; the very same state when nothing differs."""
    at = changed.index
    if state.gpus[at] == changed:
        return state
    return replaced(state, gpus=(*state.gpus[:at], changed, *state.gpus[at + 1 :]))


def of_gpu(
    operation: Callable[Concatenate[GpuState, P], GpuState],
) -> Callable[Concatenate[NodeState, int, P], Change[GpuState]]:
    """Turn an operation on one GPU into one on the node: the GPU's index comes first, its new state is the value."""

    def of_node(state: NodeState, gpu: int, *arguments: P.args, **named: P.kwargs) -> Change[GpuState]:
        changed = operation(gpu_at(state, gpu), *arguments, **named)
        return Change(with_gpu(state, changed), changed)

    of_node.__name__, of_node.__doc__ = operation.__name__, operation.__doc__
    of_node.__signature__ = _signature_of(operation)  # type: ignore[attr-defined]  # what inspect.signature reads
    return of_node  # type: ignore[return-value]  # callers by name (control socket) say gpu=, Concatenate cannot


def _signature_of(operation: Callable[..., GpuState]) -> inspect.Signature:
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    own = inspect.signature(operation, eval_str=True)
    node = inspect.Parameter("state", positional, annotation=NodeState)
    gpu = inspect.Parameter("gpu", positional, annotation=int)
    return own.replace(parameters=[node, gpu, *list(own.parameters.values())[1:]])
