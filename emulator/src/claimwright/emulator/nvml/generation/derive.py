"""From a prototype of nvml.h to the parts of shapes.py."""

from __future__ import annotations

import re
from collections.abc import Iterator

from claimwright.emulator.nvml.generation import exceptions
from claimwright.emulator.nvml.generation.python_records import PLAIN
from claimwright.emulator.nvml.header import Function, Header, Parameter
from claimwright.emulator.nvml.header_types import CType
from claimwright.emulator.nvml.shapes import Part, PartKind

HANDLES = {
    "nvmlDevice_t": "device",
    "nvmlGpuInstance_t": "gpu_instance",
    "nvmlComputeInstance_t": "compute_instance",
    "nvmlUnit_t": "unit",
    "nvmlEventSet_t": "event_set",
    "nvmlGpmSample_t": "gpm_sample",
    "nvmlSystemEventSet_t": "system_event_set",
}
_WIDTHS = {"c_char": "u8", "c_uint8": "u8", "c_uint16": "u16", "c_uint32": "u32", "c_int32": "i32", "c_uint64": "u64",
           "c_int64": "i64"}  # fmt: skip
_COUNT = re.compile("count|size|length", re.IGNORECASE)


class Deriver:
    """Knows the header's types; `parts` turns one function into its parts."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._types = {each.name: each for each in header.types}

    def parts(self, function: Function) -> tuple[Part, ...]:
        """Return a function's arguments, then the arrays that its records point at."""
        own = tuple(self._part(item, function) for item in function.parameters)
        nested = tuple(
            Part(
                pointer,
                PartKind.NESTED,
                (element, part.name, counted),
                sent=(function.name, pointer) in exceptions.SENT,
            )
            for part in own
            if part.kind is PartKind.RECORD
            for element, pointer, counted in self.pointers(part.detail[0].split("|")[0])
        )
        return own + nested

    def pointers(self, record: str) -> Iterator[tuple[str, str, str]]:
        """Yield the arrays that a record points at: element, pointer member, count member."""
        members = self.record(record).members
        names = {member.name for member in members}
        for member in members:
            counted = exceptions.NESTED.get(member.name, "")
            if member.pointers and counted in names and isinstance(member.type, str):
                yield self.element(member.type), member.name, counted

    def handle_members(self, record: str) -> Iterator[tuple[str, str]]:
        """Yield the members of a record that are handles, with their kind."""
        for member in self.record(record).members:
            if isinstance(member.type, str) and member.type in HANDLES and not member.pointers:
                yield member.name, HANDLES[member.type]

    def record(self, name: str) -> CType:
        """Return a record's type behind all its names."""
        each = self._types[name]
        return self.record(each.target) if each.kind == "alias" else each

    def element(self, name: str) -> str:
        """Name what a pointer points at: a plain number, a handle, or a record."""
        if name in HANDLES:
            return HANDLES[name]
        if name in PLAIN:
            return _WIDTHS[PLAIN[name]]
        each = self._types[name]
        if each.kind == "enum":
            return "u32"
        return self.element(each.target) if each.kind == "alias" else each.name

    def _part(self, item: Parameter, function: Function) -> Part:
        key = (function.name, item.name)
        optional = key in exceptions.OPTIONAL
        if not item.pointers:
            return self._plain(item)
        if item.type_name == "char":
            return Part(item.name, PartKind.INPUT, ()) if item.constant else self._text(item, function)
        room = self._room(item, function)
        if room and room != item.name:
            element = "u8" if key in exceptions.BYTES else self.element(item.type_name)
            pointer = any(other.name == room and other.pointers for other in function.parameters)
            return Part(
                item.name, PartKind.ARRAY, (element, room), pointer or optional, key in exceptions.SENT
            )
        return self._pointer(item, function, optional=optional, is_count=room == item.name)

    def _pointer(self, item: Parameter, function: Function, *, optional: bool, is_count: bool) -> Part:
        key = (function.name, item.name)
        element = self.element(item.type_name)
        if is_count:
            return Part(item.name, PartKind.COUNT, (element,), optional)
        if element in self._types:
            return Part(item.name, PartKind.RECORD, ("|".join(self._variants(item.type_name)),), optional)
        return Part(item.name, PartKind.VALUE, (element,), optional, key in exceptions.READ)

    def _plain(self, item: Parameter) -> Part:
        element = self.element(item.type_name)
        if element in HANDLES.values():
            return Part(item.name, PartKind.HANDLE, (element,))
        width = {"u8": 1, "u16": 2, "u32": 4, "i32": 4}.get(element, 8)
        return Part(
            item.name, PartKind.NUMBER, (str(width), "signed") if element in {"i32", "i64"} else (str(width),)
        )

    def _text(self, item: Parameter, function: Function) -> Part:
        room = self._room(item, function)
        assert room, f"{function.name}: how long may {item.name} be?"
        pointer = any(other.name == room and other.pointers for other in function.parameters)
        return Part(item.name, PartKind.TEXT, (room,), pointer)

    def _room(self, item: Parameter, function: Function) -> str:
        """Say what gives an array's room: a count gives its own name; a single thing gives ""."""
        known = exceptions.ROOM.get((function.name, item.name))
        if known:
            return known
        if (function.name, item.name) in exceptions.COUNT_OUT:
            return item.name
        counts = [each.name for each in function.parameters if _is_count(each, function)]
        if item.name in counts:
            return item.name
        inferred = counts and item.pointers and item.name not in {"sampleValType", "vmIdType"}
        return counts[0] if inferred else ""

    def _variants(self, name: str) -> list[str]:
        """Return a record's versions, or itself where it has none."""
        base = re.sub(r"(_v\d+)?_t$", "", name)
        found = [each for each in self._header.version_words if re.fullmatch(rf"{base}_v\d+_t", each)]
        record = self.record(name)
        first = record.members[0].name if record.members else ""
        return sorted(found) if found and first == "version" else [record.name]


def _is_count(item: Parameter, function: Function) -> bool:
    """A number by pointer that is called a count beside a text or an array, or a length by value."""
    if not _COUNT.search(item.name) or item.type_name not in {"unsigned int", "int"}:
        return False
    others = [each for each in function.parameters if each.pointers and each.name != item.name]
    if not item.pointers:
        text = any(each.type_name == "char" and not each.constant for each in others)
        return text and ("ength" in item.name or item.name == "size")
    single = any(not _COUNT.search(each.name) for each in others)
    return single and not function.name.endswith(("EncoderStats", "SessionInfo"))
