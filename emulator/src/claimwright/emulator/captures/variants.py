"""What a variant of a board needs besides what the machine told, so that it does not contradict itself.

A board that the catalogue lacks is described as a known one with other values. The machine tells most of them; what it
does not tell (idle clocks, MIG tables, …) stays the known board's, as far as it fits to what was told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from pydantic import JsonValue

from claimwright.emulator.captures.board_leaves import differing_fields
from claimwright.emulator.captures.capture import Part, number
from claimwright.emulator.errors import ProfileError
from claimwright.emulator.model import Board
from claimwright.emulator.model.board import Clocks
from claimwright.emulator.model.catalogue import varied_board

Fields = dict[str, JsonValue]

_OWN = {"parts.board"}  # what a slot can say for itself, without a variant of the board
_SAME_SIZE = 0.02  # two drivers show this much more or less of one board's memory
_GRAIN_MIB = 128  # NVML's MIG tables are multiples of it


def variant_fields(base: Board, told: Part) -> Fields:
    """Return the fields in which a machine's board differs from `base`, complete; empty when it is that board.

    CaptureError names what no board can be.
    """
    differs = differing_fields(base, told)
    if not set(differs) - _OWN:
        return {}
    for fitting in (_coherence, _ids, _bars, _clocks, _power, _heat, _mig, _vgpu):
        differs.update(fitting(base, told, differs))
    try:
        varied_board(base.key, f"{base.key}-variant", differs)
    except ProfileError as error:
        raise told.refused("at", f"this gpu makes no board: {error}") from None
    return differs


def _now(base: Board, differs: Fields, path: str) -> Any:  # noqa: ANN401 - of any field
    if path in differs:
        return differs[path]
    value: Any = base
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _coherence(base: Board, told: Part, _differs: Fields) -> Iterator[tuple[str, JsonValue]]:
    """Take address translation services for memory that the CPUs see: reports of nvidia-smi tell only of those."""
    mode = told.get("addressing_mode")
    if mode is None or (mode == "ats") is base.coherent_memory:
        return
    yield "coherent_memory", mode == "ats"
    yield "c2c", "enabled" if mode == "ats" else told.get("c2c")


def _ids(base: Board, told: Part, differs: Fields) -> Iterator[tuple[str, JsonValue]]:
    """Make part numbers follow what names the same chip and design: NVML does not tell all of them."""
    if "pci.device" in differs and "parts.gpu" not in told:
        yield "parts.gpu", f"{differs['pci.device']:04X}{base.parts.gpu[4:]}"
    if "parts.inforom_image" in differs and "parts.board" not in told:
        yield "parts.board", f"900-2{str(differs['parts.inforom_image']).partition('.')[0]}-0000-000"


def _bars(base: Board, told: Part, differs: Fields) -> Iterator[tuple[str, JsonValue]]:
    if "memory.bar1_mib" in differs and "pci.bars" not in told:
        bars = [bar.model_dump(mode="json", exclude_defaults=True) for bar in base.pci.bars]
        for bar in bars:
            if bar.get("mib") == base.memory.bar1_mib:
                bar["mib"] = differs["memory.bar1_mib"]
        yield "pci.bars", cast("JsonValue", bars)


def _clocks(base: Board, told: Part, differs: Fields) -> Iterator[tuple[str, JsonValue]]:
    if not any("clocks" in path for path in differs):
        return
    top = {domain: _now(base, differs, f"max_clocks.{domain}") for domain in Clocks.defaults}
    for domain, highest in top.items():
        if getattr(base.idle_clocks, domain) > highest:
            yield f"idle_clocks.{domain}", highest
    if "supported_clocks" not in told:
        yield "supported_clocks", [_steps(base, top["memory"], top["graphics"])]
    if "default_application_clocks.graphics" in told:
        for domain in ("graphics", "memory"):
            path = f"default_application_clocks.{domain}"
            yield path, number(told, path, top[domain])


def _steps(base: Board, memory: int, highest: int) -> JsonValue:
    """Return the clocks that lead from about the known board's lowest to `highest`, in steps of 15 MHz."""
    spread = max(highest - base.supported_clocks[0].lowest, 0)
    return {"memory": memory, "lowest": highest - spread // 15 * 15, "highest": highest, "step": 15.0}


def _power(base: Board, told: Part, differs: Fields) -> Iterator[tuple[str, JsonValue]]:
    default = _now(base, differs, "power.default_watts")
    if base.power.idle_watts > default:
        yield "power.idle_watts", float(default)
    if base.power.module is None and any(path.startswith("power.module.") for path in differs):
        yield "power.module.idle_watts", float(number(told, "power.module.min_watts"))


def _heat(base: Board, told: Part, differs: Fields) -> Iterator[tuple[str, JsonValue]]:
    """Follow the machine from one kind of thresholds to the other; a board has one of the two."""
    if base.thermals.tlimits is None and any(path.startswith("thermals.tlimits.") for path in differs):
        yield "thermals.thresholds", None
        here = number(told, "reading.temperature", base.thermals.idle)
        yield "thermals.tlimits.limit_at", here + number(told, "reading.tlimit", 50)
    if base.thermals.thresholds is None and any(path.startswith("thermals.thresholds.") for path in differs):
        yield "thermals.tlimits", None


def _mig(base: Board, told: Part, differs: Fields) -> Iterator[tuple[str, JsonValue]]:
    """Scale MIG's memory with the board's; another chip that does not tell of MIG has none."""
    if base.mig is None:
        return
    if "mig_capable" not in told and "pci.device" in differs:
        yield "mig_capable", False
        yield "mig", None
        return
    share = _share(base, differs)
    if share < 1 or share > 1 + _SAME_SIZE:
        cuts = [cut.model_dump(mode="json", exclude_defaults=True) for cut in base.mig.gpu_instances]
        for cut in cuts:
            cut["memory_mib"] = int(cut["memory_mib"] * share) // _GRAIN_MIB * _GRAIN_MIB
            cut["unverified"] = ["memory_mib"]
            cut.pop("name", None)
        yield "mig.gpu_instances", cast("JsonValue", cuts)


def _vgpu(base: Board, _told: Part, differs: Fields) -> Iterator[tuple[str, JsonValue]]:
    """Leave vGPU types out where memory differs: their sizes are products, and follow no rule."""
    if base.vgpu is not None and abs(_share(base, differs) - 1) > _SAME_SIZE:
        yield "vgpu", None


def _share(base: Board, differs: Fields) -> float:
    return float(_now(base, differs, "memory.total_mib")) / base.memory.total_mib
