"""Put faults on a node, take them away, and do what operators do about them: reset, reload, reboot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model.change import Change, gpu_at, with_gpu
from claimwright.emulator.model.faults import FAULTS, ActiveFault, Cure, in_order, parse
from claimwright.emulator.model.faults.fault import Fault, xid
from claimwright.emulator.model.operations import gpus
from claimwright.emulator.model.readings import settled
from claimwright.emulator.model.resets import after_reset
from claimwright.emulator.model.state import GpuState, NodeState


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """A fault as the outside sees it; `number` is None for one that is over already (counts, events)."""

    number: int | None
    name: str
    gpu: int | None
    parameters: Mapping[str, Any]
    cured_by: tuple[str, ...]


def inject_fault(
    state: NodeState, fault: str, parameters: Mapping[str, Any] | None = None
) -> Change[FaultRecord]:
    """Put a fault of a class (see model.faults.FAULTS) on the node."""
    wanted = parse(fault, parameters or {})
    _refuse_twice(state, wanted)
    struck = wanted.strike(state)
    if not wanted.lasts:
        return Change(_counted(struck.state), _record(None, wanted), struck.events)
    number = state.faults_injected + 1
    after = replace(wanted.hold(struck.state), faults=(*state.faults, ActiveFault(number, wanted)))
    return Change(_counted(after), _record(number, wanted), struck.events)


def clear_fault(state: NodeState, number: int) -> Change[FaultRecord]:
    """End one fault; what other faults hold stays."""
    found = next((each for each in state.faults if each.number == number), None)
    if found is None:
        numbers = ", ".join(str(each.number) for each in state.faults) or "none"
        raise OperationRefused(Refusal.NOT_FOUND, f"no fault {number} is active; active: {numbers}")
    return Change(_without(state, lambda each: each is found), _record(number, found.fault))


def clear_faults(
    state: NodeState, *, fault: str | None = None, gpu: int | None = None
) -> Change[tuple[FaultRecord, ...]]:
    """End all faults, or those of a class, of a GPU, or both; none active is no error."""
    if fault is not None and fault not in FAULTS:
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"no fault {fault!r}; known: {', '.join(sorted(FAULTS))}"
        )
    if gpu is not None:
        gpu_at(state, gpu)

    def meant(each: ActiveFault) -> bool:
        return fault in (None, each.fault.name) and gpu in (None, each.fault.on_gpu)

    gone = tuple(_record(each.number, each.fault) for each in state.faults if meant(each))
    return Change(_without(state, meant), gone)


def list_faults(state: NodeState) -> Change[tuple[FaultRecord, ...]]:
    """Return the faults in force, oldest first."""
    return Change(state, tuple(_record(each.number, each.fault) for each in state.faults))


def report_xid(state: NodeState, gpu: int, code: int) -> Change[GpuState]:
    """Report an XID without any cause, as writing to exercise_error_forwarding does; nothing is left behind."""
    present = gpu_at(state, gpu)
    if not 1 <= code <= 9999:
        raise OperationRefused(Refusal.INVALID_ARGUMENT, f"XID {code}; expected 1..9999")
    return Change(state, present, (xid(present, code),))


def reset_gpu(state: NodeState, gpu: int) -> Change[GpuState]:
    """Reset a GPU as `nvidia-smi --gpu-reset` does: refused while processes use it, cures what a reset can."""
    present = gpu_at(state, gpu)
    if present.processes:
        pids = ", ".join(str(each.pid) for each in present.processes)
        raise OperationRefused(Refusal.IN_USE, f"GPU {gpu} is in use by process {pids}; end it first")
    after = _cured(gpus.recover(state, gpu).state, Cure.RESET, gpu)
    return Change(after, after.gpus[gpu])


def reload_driver(state: NodeState) -> Change[None]:
    """Unload and load the driver at once: processes die, volatile counts go, minors stay."""
    return Change(_cured(_started_anew(state), Cure.DRIVER_RELOAD), None)


def reboot(state: NodeState, boot_id: str) -> Change[None]:
    """Reboot the machine: all that a reload does, settings made since the start are gone, the boot id is new."""
    after = _cured(_started_anew(replace(state, boot_id=boot_id)), Cure.REBOOT)
    for gpu in after.gpus:
        unset = replace(
            gpu, compute_mode=type(gpu.compute_mode).DEFAULT, time_slice=type(gpu.time_slice).DEFAULT
        )
        after = with_gpu(after, unset)
    return Change(after, None)


def _started_anew(state: NodeState) -> NodeState:
    for gpu in state.gpus:
        stopped = settled(replace(gpu, processes=()))
        state = with_gpu(state, stopped if gpu.lost else after_reset(stopped))
    return state


def _cured(state: NodeState, cure: Cure, gpu: int | None = None) -> NodeState:
    return _without(
        state, lambda each: cure in each.fault.cured_by and (gpu is None or each.fault.on_gpu == gpu)
    )


def _without(state: NodeState, ends: Callable[[ActiveFault], bool]) -> NodeState:
    """Release what ends, then let what stays take hold again: two faults may hold the same thing."""
    ending = [each.fault for each in state.faults if ends(each)]
    gone = [each for each in state.faults if ends(each) or any(_heals(end, each.fault) for end in ending)]
    left = tuple(each for each in state.faults if each not in gone)
    for each in reversed(gone):
        state = each.fault.release(state)
    for each in left:
        state = each.fault.hold(state)
    return state if not gone and not left else replace(state, faults=left)


def _heals(ending: Fault, other: Fault) -> bool:
    return ending.ends_with in other.cured_by and ending.on_gpu in (None, other.on_gpu)


def _refuse_twice(state: NodeState, wanted: Fault) -> None:
    for each in state.faults:
        if wanted.lasts and each.fault == wanted:
            raise OperationRefused(
                Refusal.INVALID_STATE,
                f"{wanted.name} with these parameters is active already (fault {each.number})",
            )


def _counted(state: NodeState) -> NodeState:
    return replace(state, faults_injected=state.faults_injected + 1)


def _record(number: int | None, fault: Fault) -> FaultRecord:
    return FaultRecord(number, fault.name, fault.on_gpu, fault.parameters(), in_order(fault.cured_by))


OPERATIONS = (
    inject_fault,
    clear_fault,
    clear_faults,
    list_faults,
    report_xid,
    reset_gpu,
    reload_driver,
    reboot,
)
