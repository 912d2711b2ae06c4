"""Calls as packets: what the library sent becomes arguments, what an answer returns becomes the reply's parts."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from claimwright.emulator.nvml._generated import records
from claimwright.emulator.nvml._generated.functions import FUNCTIONS
from claimwright.emulator.nvml.handles import NO_HANDLE, Handle, handle_of
from claimwright.emulator.nvml.layout import PACKET_BYTES, REPLY, REQUEST
from claimwright.emulator.nvml.shapes import NUMBERS, Part, PartKind, read_parts

_HEAD = struct.Struct("<II")
_NULL = 0xFFFFFFFF
_NESTED = 64
_HANDLE_KINDS = {"device", "gpu_instance", "compute_instance"}
_COUNTED = {PartKind.ARRAY, PartKind.TEXT, PartKind.NESTED}
NAMES = tuple(FUNCTIONS)

# NULL instead of an array asks how long it would be, and that is a success (nvml.h); elsewhere INSUFFICIENT_SIZE.
_NULL_ASKS = {
    "nvmlDeviceGetSamples",
    "nvmlDeviceGetGpuInstancePossiblePlacements_v2",
    "nvmlGpuInstanceGetComputeInstancePossiblePlacements",
}


class Malformed(Exception):
    """A packet that no library of ours sent."""


class DoesNotFit(Exception):
    """An array or text is longer than the caller's room; the counts say how long."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A function's parts, and which reply index each has."""

    name: str
    parts: tuple[Part, ...]
    places: tuple[int, ...]


@dataclass(slots=True)
class Given:
    """One part as it came: room in bytes (None for NULL) and contents, decoded where an answer reads them."""

    part: Part
    room: int | None
    data: bytes
    value: Any = field(default=None)


@cache
def shape_of(name: str) -> Shape:
    """Return a function's shape by its name."""
    parts = read_parts(FUNCTIONS[name])
    own = [part.name for part in parts if part.kind is not PartKind.NESTED]
    places = tuple(
        _NESTED + own.index(part.detail[1]) if part.kind is PartKind.NESTED else own.index(part.name)
        for part in parts
    )
    return Shape(name, parts, places)


def read_call(packet: bytes | bytearray | memoryview, number: int) -> tuple[Shape, list[Given]]:
    """Decode a request; Malformed when its length or a part is not what the library would send."""
    if number >= len(NAMES):
        raise Malformed(f"no function {number}")
    shape = shape_of(NAMES[number])
    at, given = REQUEST.size, []
    for part in shape.parts:
        if at + _HEAD.size > len(packet):
            raise Malformed(f"{shape.name}: ends before {part.name}")
        room, size = _HEAD.unpack_from(packet, at)
        at += _HEAD.size
        if at + size > len(packet):
            raise Malformed(f"{shape.name}: {part.name} has {size} bytes, the packet ends before")
        one = Given(part, None if room == _NULL else room, bytes(packet[at : at + size]))
        one.value = _decode(one)
        given.append(one)
        at += size + -size % 8
    return shape, given


def call_target(packet: bytes, number: int) -> tuple[str, int]:
    """Return the name of a call's function and the GPU under its first handle (-1: none), without checking more."""
    name = NAMES[number] if number < len(NAMES) else ""
    at = REQUEST.size + _HEAD.size
    if (
        name
        and shape_of(name).parts
        and shape_of(name).parts[0].kind is PartKind.HANDLE
        and len(packet) >= at + 8
    ):
        handle = handle_of(int.from_bytes(packet[at : at + 8], "little"))
        return name, -1 if handle is None else handle.gpu
    return name, -1


def inputs(given: Sequence[Given]) -> list[Any]:
    """Return what the answer gets."""
    taken = {PartKind.HANDLE, PartKind.NUMBER, PartKind.INPUT, PartKind.RECORD}
    return [
        one.value for one in given if (one.part.kind in taken or one.part.sent) and not _is_room(one, given)
    ]


def rooms(given: Sequence[Given]) -> Mapping[str, int | None]:
    """Return the room of each array and text, in elements."""
    return {
        one.part.name: None if one.room is None else one.room // _size(one.part.detail[0])
        for one in given
        if one.part.kind in _COUNTED
    }


def reply_parts(shape: Shape, given: Sequence[Given], returned: object) -> bytes:
    """Encode what an answer returned and the records that it changed; DoesNotFit carries the counts alone."""
    backs = [
        one
        for one in given
        if one.part.given_back and not (one.part.sent and one.part.kind is not PartKind.VALUE)
    ]
    values = _spread(shape.name, returned, len(backs))
    pairs = [(one, value) for one, value in zip(backs, values, strict=True)]
    fits, counts = _write_counts(given, pairs, null_asks=shape.name in _NULL_ASKS)
    parts = [_pack(shape, one, data) for one, data in counts]
    if not fits:
        raise DoesNotFit(b"".join(parts))
    parts += [
        _pack(shape, one, _encode(one, value)) for one, value in pairs if value is not None and one.room
    ]
    parts += [_pack(shape, one, b"".join(map(bytes, one.value))) for one in given if _is_sent_array(one)]
    parts += [
        _pack(shape, one, bytes(one.value)) for one in given if one.part.kind is PartKind.RECORD and one.room
    ]
    body = b"".join(parts)
    assert REPLY.size + len(body) <= PACKET_BYTES, f"{shape.name}: the answer has {len(body)} bytes"
    return body


def _spread(name: str, returned: object, count: int) -> Sequence[Any]:
    if count == 1:
        return (returned,)
    values = () if returned is None else returned
    assert isinstance(values, tuple), f"{name}: expected a tuple of {count}, got {returned!r}"
    assert len(values) == count, f"{name}: expected {count} values, got {len(values)}"
    return values


def _write_counts(
    given: Sequence[Given], pairs: Sequence[tuple[Given, Any]], *, null_asks: bool
) -> tuple[bool, list[tuple[Given, bytes]]]:
    """Fit every array into its room; return whether all do, and the count parts to write either way."""
    fits, needed = True, {}
    for one, value in pairs:
        if one.part.kind not in _COUNTED or value is None:
            continue
        count = len(value.encode()) + 1 if one.part.kind is PartKind.TEXT else len(value)
        room = (one.room or 0) // _size(one.part.detail[0])
        if count > room and not (null_asks and one.room is None):
            fits = False
        if one.part.kind is PartKind.NESTED:
            record = next(each for each in given if each.part.name == one.part.detail[1])
            setattr(record.value, one.part.detail[2], count)
        else:
            needed[_count_name(one, given)] = count
    counts = [
        (one, needed[one.part.name])
        for one in given
        if one.part.kind is PartKind.COUNT and one.part.name in needed
    ]
    made = [(one, struct.pack("<I", count)) for one, count in counts]
    if not fits:
        nested = {one.part.detail[1] for one, _ in pairs if one.part.kind is PartKind.NESTED}
        made += [(one, bytes(one.value)) for one in given if one.part.name in nested]
    return fits, made


def _count_name(one: Given, given: Sequence[Given]) -> str:
    """Name the count of an array; where the room is fixed, the call's only count is meant."""
    name = one.part.detail[-1]
    return (
        name
        if not name.isdigit()
        else next((c.part.name for c in given if c.part.kind is PartKind.COUNT), "")
    )


def _pack(shape: Shape, one: Given, data: bytes) -> bytes:
    place = shape.places[shape.parts.index(one.part)]
    return _HEAD.pack(place, len(data)) + data + bytes(-len(data) % 8)


def _encode(one: Given, value: Any) -> bytes:  # noqa: ANN401 - any of NVML's kinds
    kind = one.part.detail[0]
    if one.part.kind is PartKind.TEXT:
        return bytes(value.encode()) + b"\0"
    if one.part.kind is PartKind.VALUE:
        return _element(kind, value)
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    return b"".join(_element(kind, each) for each in value)


def _element(kind: str, value: Any) -> bytes:  # noqa: ANN401
    if kind in NUMBERS:
        return struct.pack(f"<{NUMBERS[kind][0]}", value)
    if kind in _HANDLE_KINDS:
        return struct.pack("<Q", NO_HANDLE if value is None else value.number)
    return bytes(value)


def _decode(one: Given) -> Any:  # noqa: ANN401
    part, data = one.part, one.data
    match part.kind:
        case PartKind.HANDLE:
            return _handle(part, data)
        case PartKind.NUMBER:
            return int.from_bytes(data, "little", signed="signed" in part.detail)
        case PartKind.INPUT:
            return data.decode(errors="replace")
        case PartKind.RECORD:
            return _record(part, data)
    return _contents(part, data) if part.sent else None


def _contents(part: Part, data: bytes) -> Any:  # noqa: ANN401
    if part.kind is not PartKind.VALUE:
        return list(_elements(part.detail[0], data))
    return struct.unpack(f"<{NUMBERS[part.detail[0]][0]}", data)[0] if data else None


def _handle(part: Part, data: bytes) -> Handle:
    handle = handle_of(int.from_bytes(data, "little"))
    if handle is None:
        raise Malformed(f"{part.name}: no handle")
    return handle


def _record(part: Part, data: bytes) -> ctypes.Structure | None:
    if not data:
        return None
    kinds: list[type[ctypes.Structure]] = [getattr(records, name) for name in part.detail[0].split("|")]
    word = int.from_bytes(data[:4], "little")
    for kind in kinds:
        if records.VERSION_WORDS.get(kind, word) == word and ctypes.sizeof(kind) == len(data):
            return kind.from_buffer_copy(data)
    raise Malformed(f"{part.name}: {len(data)} bytes with version word {word:#x}")


def _elements(kind: str, data: bytes) -> Iterator[ctypes.Structure]:
    record: type[ctypes.Structure] = getattr(records, kind)
    size = ctypes.sizeof(record)
    for at in range(0, len(data) - size + 1, size):
        yield record.from_buffer_copy(data, at)


@cache
def _size(kind: str) -> int:
    if kind in NUMBERS:
        return NUMBERS[kind][1]
    if kind in _HANDLE_KINDS:
        return 8
    record: type[ctypes.Structure] | None = getattr(records, kind, None)
    return ctypes.sizeof(record) if record is not None else 1  # a text: its detail names the parameter


def _is_room(one: Given, given: Sequence[Given]) -> bool:
    """Whether a number by value is only the length of an array or text of the same call."""
    name = one.part.name
    return one.part.kind is PartKind.NUMBER and any(
        other.part.kind in {PartKind.ARRAY, PartKind.TEXT} and other.part.detail[-1].partition("/")[0] == name
        for other in given
    )


def _is_sent_array(one: Given) -> bool:
    return one.part.sent and one.part.kind in {PartKind.ARRAY, PartKind.NESTED} and bool(one.room)
