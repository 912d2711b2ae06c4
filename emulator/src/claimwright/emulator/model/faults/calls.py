"""NVML functions that take long or fail, by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model.change import Change, gpu_at
from claimwright.emulator.model.faults.fault import BY_RELOAD, Fault
from claimwright.emulator.model.rules import AfterValidator, Field
from claimwright.emulator.model.state import NodeState

MOST_CALL_FAULTS = 32  # what the library's shared page has room for
_SYMBOLS = Path(__file__).parents[2] / "nvml/library/_generated/symbols.txt"
_CODES = {reason.value for reason in Refusal} | {"CORRUPTED_INFOROM", "LIB_RM_VERSION_MISMATCH", "IRQ_ISSUE"}


@cache
def nvml_functions() -> tuple[str, ...]:
    """Return every name that the library exports."""
    return tuple(line for line in _SYMBOLS.read_text().splitlines() if not line.startswith("#"))


def _known(name: str) -> str:
    if name not in nvml_functions():
        near = [each for each in nvml_functions() if name.lower().removeprefix("nvml") in each.lower()][:4]
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise ValueError(f"NVML has no function {name!r}{hint}")
    return name


def _known_code(code: str) -> str:
    wanted = code.upper().removeprefix("NVML_ERROR_")
    if wanted not in _CODES:
        raise ValueError(f"{code!r} is no return code; expected one of {', '.join(sorted(_CODES))}")
    return wanted


Function = Annotated[
    str, AfterValidator(_known), Field(description="NVML function; without _vN, every version")
]
Seconds = Annotated[float, Field(gt=0, le=600, description="how long each call takes")]
OnlyGpu = Annotated[int | None, Field(ge=0, description="only calls with a handle of this GPU")]


@dataclass(frozen=True, slots=True)
class CallFault:
    """What happens to one exported function: a delay, then `code` (None: its real answer)."""

    function: str
    gpu: int | None
    delay_seconds: float
    code: str | None


class _NvmlFault(Fault):
    """A fault of calls; it is in force as long as it is in the node's list."""

    cured_by = BY_RELOAD

    def calls(self) -> Iterator[CallFault]:
        """Yield what it does to each function."""
        raise NotImplementedError

    def strike(self, state: NodeState) -> Change[None]:
        """Refuse more than the library can look at."""
        for call in self.calls():
            if call.gpu is not None:
                gpu_at(state, call.gpu)
        used = len(call_faults(state)) + sum(1 for _ in self.calls())
        if used > MOST_CALL_FAULTS:
            raise OperationRefused(
                Refusal.INSUFFICIENT_RESOURCES,
                f"{used} NVML functions would be at fault; expected at most {MOST_CALL_FAULTS}: clear some",
            )
        return Change(state, None)


class NvmlSlow(_NvmlFault):
    """A function that takes its time."""

    name = "nvml-slow"
    summary = "an NVML function takes long, and then answers as ever"
    faces = "the named function of libnvidia-ml.so.1, in every process at once; a clear ends waits that are under way"

    function: Function
    seconds: Seconds
    gpu: OnlyGpu = None

    def calls(self) -> Iterator[CallFault]:
        """Delay every version of it."""
        for name in versions_of(self.function):
            yield CallFault(name, self.gpu, self.seconds, None)


class NvmlFails(_NvmlFault):
    """A function that fails."""

    name = "nvml-fails"
    summary = "an NVML function fails with a chosen return code"
    faces = "the named function of libnvidia-ml.so.1, in every process at once"

    function: Function
    code: Annotated[
        str, AfterValidator(_known_code), Field(description="return code, such as UNKNOWN or TIMEOUT")
    ]
    gpu: OnlyGpu = None
    seconds: Annotated[float, Field(ge=0, le=600, description="how long each call takes before")] = 0.0

    def calls(self) -> Iterator[CallFault]:
        """Fail every version of it."""
        for name in versions_of(self.function):
            yield CallFault(name, self.gpu, self.seconds, self.code)


class SlowHandles(_NvmlFault):
    """What a loaded machine does: handles by UUID take seconds (comments in the NVIDIA DRA driver)."""

    name = "slow-handles"
    summary = "looking a device up by UUID takes 10 s, as on a loaded machine"
    faces = "nvmlDeviceGetHandleByUUID and …ByUUIDV of libnvidia-ml.so.1, in every process at once"

    seconds: Seconds = 10.0

    def calls(self) -> Iterator[CallFault]:
        """Delay both look-ups."""
        for name in ("nvmlDeviceGetHandleByUUID", "nvmlDeviceGetHandleByUUIDV"):
            yield CallFault(name, None, self.seconds, None)


class SlowMigDestroy(_NvmlFault):
    """What a loaded machine does: destroying a GPU instance takes a second (comments in the NVIDIA DRA driver)."""

    name = "slow-mig-destroy"
    summary = "destroying a GPU instance takes 1 s, as on a loaded machine"
    faces = "nvmlGpuInstanceDestroy of libnvidia-ml.so.1, in every process at once"

    seconds: Seconds = 1.0

    def calls(self) -> Iterator[CallFault]:
        """Delay the destruction."""
        yield CallFault("nvmlGpuInstanceDestroy", None, self.seconds, None)


def call_faults(state: NodeState) -> tuple[CallFault, ...]:
    """Return what the library has to do to calls, newest first: the first that fits a call is done."""
    return tuple(
        call
        for active in reversed(state.faults)
        if isinstance(active.fault, _NvmlFault)
        for call in active.fault.calls()
    )


def versions_of(function: str) -> tuple[str, ...]:
    """Return a versioned name alone, a bare one with all its versions."""
    if re.search(r"_v\d+$", function):
        return (function,)
    return tuple(each for each in nvml_functions() if re.fullmatch(rf"{function}(_v\d+)?", each))
