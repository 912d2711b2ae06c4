"""Fixed binary records: one description gives Python its packing and C its struct."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from claimwright.emulator.nvml.errors import FieldTooLong

_CODES = {"u8": ("B", 1), "u32": ("I", 4), "i32": ("i", 4), "u64": ("Q", 8)}

Value = int | str | bytes | Sequence[int]


@dataclass(frozen=True, slots=True)
class Field:
    """One member; `kind` is a number kind, `char` (NUL-ended text) or the name of another record."""

    name: str
    kind: str
    count: int
    offset: int
    size: int


@dataclass(frozen=True)
class Record:
    """A struct of fixed size, its members naturally aligned, the rest zero."""

    name: str
    size: int
    fields: tuple[Field, ...]

    @cached_property
    def packing(self) -> struct.Struct:
        """The whole record as one pack call."""
        codes, at = ["<"], 0
        for field in self.fields:
            codes += [f"{field.offset - at}x", _code(field)]
            at = field.offset + field.size
        return struct.Struct("".join([*codes, f"{self.size - at}x"]))

    def run(self, first: str, last: str) -> tuple[int, Record]:
        """Return a run of members as a record of its own, and where it begins."""
        names = [field.name for field in self.fields]
        members = self.fields[names.index(first) : names.index(last) + 1]
        start, end = members[0].offset, members[-1].offset + members[-1].size
        own = tuple(replace(field, offset=field.offset - start) for field in members)
        return start, Record(f"{self.name}.{first}", end - start, own)

    def pack(self, values: Mapping[str, Value]) -> bytes:
        """Return the record's bytes; every member must be given, and fit."""
        return self.packing.pack(*self._flat(values))

    def unpack(self, data: bytes) -> dict[str, Value]:
        """Return the members of a record's bytes; arrays as tuples, text as str."""
        plain, values = iter(self.packing.unpack(data)), {}
        for field in self.fields:
            values[field.name] = _read(field, plain)
        return values

    def _flat(self, values: Mapping[str, Value]) -> Iterator[int | bytes]:
        for field in self.fields:
            value = values[field.name]
            if isinstance(value, int):
                yield value
            elif isinstance(value, str):
                yield _text(field, value)
            elif isinstance(value, bytes):
                yield _checked(field, value)
            else:
                yield from _array(field, value)


def record(name: str, *members: str, size: int = 0, parts: Sequence[Record] = ()) -> Record:
    """Lay out members written like C: `u32 minor`, `char uuid[80]`, `link links[36]`."""
    known = {part.name: part.size for part in parts}
    fields, at = [], 0
    for member in members:
        kind, _, rest = member.partition(" ")
        name_, _, bound = rest.partition("[")
        count = int(bound[:-1]) if bound else 1
        width = 1 if kind == "char" else known[kind] if kind in known else _CODES[kind][1]
        at += -at % (8 if kind in known else width)
        fields.append(Field(name_, kind, count, at, width * count))
        at += width * count
    assert not size or at <= size, f"{name}: {at} bytes do not fit into {size}"
    return Record(name, size or at + -at % 8, tuple(fields))


def _code(field: Field) -> str:
    return f"{field.size}s" if _is_bytes(field) else f"{field.count}{_CODES[field.kind][0]}"


def _is_bytes(field: Field) -> bool:
    """Text, nested records and byte arrays travel as bytes."""
    return field.kind not in _CODES or (field.kind == "u8" and field.count > 1)


def _text(field: Field, value: str) -> bytes:
    data = value.encode()
    if len(data) >= field.size:
        raise FieldTooLong(field.name, value, field.size - 1)
    return data


def _checked(field: Field, value: bytes) -> bytes:
    if len(value) > field.size:
        raise FieldTooLong(field.name, value, field.size)
    return value


def _array(field: Field, value: Sequence[int]) -> Iterator[int]:
    if len(value) > field.count:
        raise FieldTooLong(field.name, value, field.count)
    yield from value
    yield from (0,) * (field.count - len(value))


def _read(field: Field, plain: Iterator[int | bytes]) -> Value:
    if not _is_bytes(field) and field.count > 1:
        return [value for _ in range(field.count) if isinstance(value := next(plain), int)]
    value = next(plain)
    if isinstance(value, int):
        return value
    return value.split(b"\0", 1)[0].decode() if field.kind == "char" else value
