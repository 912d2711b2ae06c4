"""What each exported function of the library takes, as lines for nvml_calls.c."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

import claimwright.emulator.nvml
from claimwright.emulator.nvml._generated import records
from claimwright.emulator.nvml._generated.functions import FUNCTIONS
from claimwright.emulator.nvml.shapes import NUMBERS, Part, PartKind, read_parts

_SYMBOLS = Path(claimwright.emulator.nvml.__file__).parent / "library/_generated/symbols.txt"
_HANDLES = {
    "device": "d",
    "gpu_instance": "g",
    "compute_instance": "c",
    "unit": "u",
    "event_set": "e",
    "gpm_sample": "s",
}


def lines() -> Iterator[str]:
    """Yield one line per exported symbol; a name without a version takes what its newest version takes."""
    for symbol in (line for line in _SYMBOLS.read_text().splitlines() if line and not line.startswith("#")):
        name = symbol if symbol in FUNCTIONS else _newest(symbol)
        yield " ".join([symbol, *_words(read_parts(FUNCTIONS[name]))])


def _newest(symbol: str) -> str:
    versions = [name for name in FUNCTIONS if re.fullmatch(rf"{symbol}_v\d+", name)]
    return max(versions, key=lambda name: int(name.rpartition("_v")[2]))


def _words(parts: tuple[Part, ...]) -> Iterator[str]:
    nested = [part for part in parts if part.kind is PartKind.NESTED]
    rooms = {_room(part) for part in parts if part.kind in {PartKind.ARRAY, PartKind.TEXT}}
    for part in parts:
        if part.kind is not PartKind.NESTED:
            yield _word(part, rooms, [each for each in nested if each.detail[1] == part.name])


def _room(part: Part) -> str:
    return part.detail[-1].partition("/")[0]


def _word(part: Part, rooms: set[str], nested: list[Part]) -> str:
    match part.kind:
        case PartKind.HANDLE:
            return f"H:{_HANDLES[part.detail[0]]}"
        case PartKind.NUMBER:
            mark = "c" if part.name in rooms else "t" if "timeout" in part.name.lower() else "-"
            return f"N:{part.detail[0]}:{mark}"
        case PartKind.INPUT:
            return "I"
        case PartKind.RECORD:
            return "R:" + ";".join(_variant(name, nested) for name in part.detail[0].split("|"))
        case PartKind.VALUE | PartKind.COUNT:
            return f"{part.kind.name[0]}:{_size(part.detail[0])}"
    unit = 1 if part.kind is PartKind.TEXT else _size(part.detail[0])
    room, _, divisor = part.detail[-1].partition("/")
    return f"A:{unit}:{divisor or 1}:{room if room.isdigit() else 0}"


def _variant(name: str, nested: list[Part]) -> str:
    record: type[ctypes.Structure] = getattr(records, name)
    inner = [0, 0, 0]
    for part in nested:
        if hasattr(record, part.name):
            inner = [_offset(record, part.name), _offset(record, part.detail[2]), _size(part.detail[0])]
    own = [inner[0]] if inner[2] else []
    pointers = [at for at in _pointers(record) if at not in own]
    word = records.VERSION_WORDS.get(record, 0)
    timeout = next(
        (_offset(record, name) + 1 for name, *_ in record._fields_ if "timeout" in name.lower()), 0
    )
    return "/".join(map(str, [ctypes.sizeof(record), word, *inner, timeout, *pointers]))


def _offset(record: type[ctypes.Structure], member: str) -> int:
    return int(getattr(record, member).offset)


def _pointers(record: type[ctypes.Structure]) -> Iterator[int]:
    for name, kind, *_ in record._fields_:
        if kind is ctypes.c_void_p:
            yield _offset(record, name)


def _size(kind: str) -> int:
    if kind in NUMBERS:
        return NUMBERS[kind][1]
    record: type[ctypes.Structure] | None = getattr(records, kind, None)
    return 8 if record is None else ctypes.sizeof(record)
