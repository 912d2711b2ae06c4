"""The C of calls that the node answers: what each argument is, and one body per function."""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Callable, Iterator, Mapping

from claimwright.emulator.nvml.generation.derive import HANDLES, Deriver
from claimwright.emulator.nvml.generation.private import PRIVATE
from claimwright.emulator.nvml.header import Header, Parameter
from claimwright.emulator.nvml.shapes import NUMBERS, Part, PartKind

_KINDS = {
    PartKind.HANDLE: "HANDLE",
    PartKind.NUMBER: "NUMBER_BY_VALUE",
    PartKind.INPUT: "INPUT",
    PartKind.RECORD: "RECORD",
    PartKind.VALUE: "VALUE",
    PartKind.COUNT: "COUNT",
    PartKind.ARRAY: "ARRAY",
    PartKind.TEXT: "TEXT_BUFFER",
}
_HANDLES = {"device": "DEVICE", "gpu_instance": "GPU_INSTANCE", "compute_instance": "COMPUTE_INSTANCE"}


class CallWriter:
    """Writes the bodies; `records` are the generated Python records, which know every offset."""

    def __init__(self, header: Header, records: Mapping[str, type[ctypes.Structure]]) -> None:
        self.functions = {function.name: function for function in (*header.functions, *PRIVATE)}
        self.numbers = {name: number for number, name in enumerate(self.functions)}
        self._deriver = Deriver(header)
        self._header = header
        self._records = records
        self.parts = {name: self._deriver.parts(function) for name, function in self.functions.items()}

    @property
    def digest(self) -> int:
        """A number that differs whenever library and node would misunderstand each other."""
        return zlib.crc32("\n".join(line for line in self.table()).encode())

    def table(self) -> Iterator[str]:
        """Yield each function with its parts, in the order of their numbers."""
        for name, parts in self.parts.items():
            yield f"{name} {' '.join(part.text for part in parts)}".rstrip()

    def lines(self, answered: frozenset[str], own: frozenset[str]) -> Iterator[str]:
        """Yield calls.h for the answered functions; those in `own` have a body for GPUs beside."""
        names = sorted(answered)
        yield from self._variants(names)
        for name in names:
            yield from ("", self._parts(name), self._body(name, split=name in own))

    def inherited(self, names: frozenset[str]) -> Iterator[str]:
        """Yield inherited.h: bodies that answer for a MIG device as for its GPU."""
        for name in sorted(names):
            parameters = self.functions[name].parameters
            declared = ", ".join(_declared(item) for item in parameters)
            yield f"INHERITED({name}, ({declared}), ({', '.join(item.name for item in parameters)}))"

    def _variants(self, names: list[str]) -> Iterator[str]:
        details = {p.detail[0] for name in names for p in self.parts[name] if p.kind is PartKind.RECORD}
        for detail in sorted(details):
            rows = ", ".join(self._variant(name) for name in detail.split("|"))
            yield f"static const struct variant {_variants_name(detail)}[] = {{{rows}}};"

    def _variant(self, name: str) -> str:
        record = self._records[name]
        word = f"VERSION_{name}" if name in self._header.version_words else "0"
        text = f"{{.word = {word}, .size = {ctypes.sizeof(record)}"
        for element, pointer, counted in self._deriver.pointers(name):
            offsets = f"{getattr(record, pointer).offset}, {getattr(record, counted).offset}"
            sent = "true" if pointer == "counters" else "false"
            text += f", .nested = {{{offsets}, {self._size(element)}, {sent}}}"
        handles = [
            f"{{{getattr(record, member).offset}, {_HANDLES[kind]}}}"
            for member, kind in self._deriver.handle_members(name)
            if kind in _HANDLES
        ]
        return text + (f", .handles = {{{', '.join(handles)}}}" if handles else "") + "}"

    def _parts(self, name: str) -> str:
        own = [part for part in self.parts[name] if part.kind is not PartKind.NESTED]
        rows = ", ".join(self._part(part, own) for part in own)
        return f"static const struct part parts_{name}[] = {{{rows}}};"

    def _part(self, part: Part, own: list[Part]) -> str:
        text = f"{{.kind = {_KINDS[part.kind]}"
        text += (", .optional = true" if part.optional else "") + (", .sent = true" if part.sent else "")
        details: Mapping[PartKind, Callable[[], str]] = {
            PartKind.HANDLE: lambda: f", .handle = {_HANDLES.get(part.detail[0], 'NO_HANDLE')}",
            PartKind.NUMBER: lambda: (
                f", .width = {part.detail[0]}" + (", .is_signed = true" if part.detail[1:] else "")
            ),
            PartKind.RECORD: lambda: (
                f", .variants = {_variants_name(part.detail[0])}, .variant_count = {len(part.detail[0].split('|'))}"
            ),
            PartKind.VALUE: lambda: self._element(part.detail[0]),
            PartKind.COUNT: lambda: self._element(part.detail[0]),
            PartKind.ARRAY: lambda: self._element(part.detail[0]) + _room(part.detail[1], own),
            PartKind.TEXT: lambda: ", .size = 1" + _room(part.detail[0], own),
        }
        return text + details.get(part.kind, str)() + "}"

    def _element(self, element: str) -> str:
        handle = f", .handle = {_HANDLES[element]}" if element in _HANDLES else ""
        return f", .size = {self._size(element)}{handle}"

    def _size(self, element: str) -> int:
        if element in NUMBERS:
            return NUMBERS[element][1]
        return 8 if element in HANDLES.values() else ctypes.sizeof(self._records[element])

    def _body(self, name: str, *, split: bool) -> str:
        parameters = self.functions[name].parameters
        declared = ", ".join(_declared(item) for item in parameters) or "void"
        given = ", ".join(f"GIVEN({item.name})" for item in parameters)
        if self.functions[name] in PRIVATE:
            return f"REMOTE_FOR_US({name}, {self.numbers[name]}, ({declared}), {given})"
        if not split:
            return f"REMOTE({name}, {self.numbers[name]}, ({declared}), {given})"
        arguments = ", ".join(item.name for item in parameters)
        macro = "REMOTE_FOR_INSTANCES" if parameters[0].name == "device" else "REMOTE_WHEN_NOT_FOUND"
        return f"{macro}({name}, {self.numbers[name]}, ({declared}), ({arguments}), {given})"


def _declared(item: Parameter) -> str:
    address = item.pointers or item.type_name in HANDLES
    if not address:
        return f"unsigned long {item.name}"
    return f"{'const ' if item.constant else ''}void *{item.name}"


def _room(room: str, own: list[Part]) -> str:
    if room.isdigit():
        return f", .fixed = {room}"
    name, _, divisor = room.partition("/")
    index = next(index for index, part in enumerate(own) if part.name == name)
    pointed = ", .room_is_pointed_at = true" if own[index].kind is PartKind.COUNT else ""
    return f", .room = {index}{pointed}" + (f", .divisor = {divisor}" if divisor else "")


def _variants_name(detail: str) -> str:
    return "variants_" + detail.replace("|", "_or_")
