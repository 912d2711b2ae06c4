"""Every class of fault by its name; documentation and `--help` are made from this table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model.faults import bus, calls, driver, fabric, heat, links, memory, mig, xids
from claimwright.emulator.model.faults.fault import Fault

_CLASSES: tuple[type[Fault], ...] = (
    xids.Xid,
    xids.ResetRequired,
    memory.SingleBitEcc,
    memory.EccStorm,
    memory.DoubleBitEcc,
    memory.ContainedEcc,
    memory.UncontainedEcc,
    memory.RowRemap,
    memory.RowRemapFailure,
    memory.RetiredPagesPending,
    memory.MemoryExhausted,
    bus.GpuLost,
    bus.PcieDegraded,
    bus.PcieReplays,
    bus.UnbindBlocked,
    bus.HotRemove,
    links.NvLinkDown,
    links.NvLinkFault,
    links.NvSwitchFatal,
    fabric.FabricDegraded,
    fabric.FabricIncomplete,
    fabric.FabricManagerGone,
    fabric.ImexPeerLoss,
    heat.ThermalSlowdown,
    heat.ThermalShutdown,
    heat.PowerBrake,
    heat.PowerCap,
    heat.ClocksStuck,
    heat.FanFailure,
    calls.NvmlSlow,
    calls.NvmlFails,
    calls.SlowHandles,
    calls.SlowMigDestroy,
    mig.MigHalfMade,
    driver.DriverReload,
    driver.DriverMismatch,
    driver.PersistenceDaemonGone,
    driver.InforomCorrupt,
)

FAULTS: Mapping[str, type[Fault]] = MappingProxyType({each.name: each for each in _CLASSES})


@dataclass(frozen=True, slots=True)
class FaultParameter:
    """One parameter of a class, for people: `kind` is a word such as `integer`, `default` None when it is needed."""

    name: str
    kind: str
    required: bool
    default: str | None
    description: str


def parameters_of(kind: type[Fault]) -> tuple[FaultParameter, ...]:
    """Return what a class takes, in order."""
    schema = kind.model_json_schema()
    needed = schema.get("required", ())
    return tuple(
        FaultParameter(
            name,
            _kind(field, schema),
            name in needed,
            None if field.get("default") is None else str(field["default"]),
            field.get("description", ""),
        )
        for name, field in schema.get("properties", {}).items()
    )


def parse(name: str, parameters: Mapping[str, Any]) -> Fault:
    """Return a fault of a class; OperationRefused INVALID_ARGUMENT names what does not fit and what would."""
    if name not in FAULTS:
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"no fault {name!r}; known: {', '.join(sorted(FAULTS))}"
        )
    from pydantic import ValidationError  # noqa: PLC0415 - slow to load, and most nodes have no faults

    try:
        return FAULTS[name].model_validate(dict(parameters))
    except ValidationError as error:
        said = "; ".join(_said(each) for each in error.errors())
        raise OperationRefused(Refusal.INVALID_ARGUMENT, f"fault {name}: {said} ({usage(name)})") from None


def usage(name: str) -> str:
    """Return how a class is written on the command line: `nvlink-down gpu=INTEGER link=INTEGER`."""
    words = (
        f"{each.name}={each.kind.upper()}" if each.required else f"[{each.name}={each.kind.upper()}]"
        for each in parameters_of(FAULTS[name])
    )
    return " ".join((name, *words))


def _kind(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    return "|".join(_kinds(field, schema))


def _kinds(field: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    for each in field.get("anyOf", (field,)):
        known = schema.get("$defs", {}).get(each.get("$ref", "").rpartition("/")[2], each)
        if "enum" in known:
            yield from known["enum"]
        elif known.get("type") not in (None, "null"):
            yield known["type"]


def _said(problem: Any) -> str:  # noqa: ANN401 - pydantic's own record
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"{place}: no such parameter"
    given = "" if problem["type"] == "missing" else f", not {problem['input']!r}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}{given}"
