"""The arguments of NVML's functions as values: what a caller hands over, and what it gets back.

The table of all functions is generated from nvml.h (_generated/functions.py), one line of text each:

    handle:device            an nvmlDevice_t and the like, by its number (see handles.py)
    number:4  number:4:signed  a number passed by value, and its bytes
    input                    a `const char *`
    record:A|B               a pointer to one of these records: by version word, or the only one
    value:u32                a pointer to a plain number that the call gives back
    count:u32                a pointer to the number of elements of an array, in and out
    array:ELEMENT:PARAMETER  an array with room for as many elements as that parameter says (or as a number here says)
    text:PARAMETER           a `char *` with room for as many bytes
    nested:ELEMENT:RECORD:COUNT   an array that a member of this name of a record points at, as many as COUNT says

A `?` after the name allows NULL, a `+` sends the contents to the node too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

NUMBERS = {
    "u8": ("B", 1),
    "u16": ("H", 2),
    "u32": ("I", 4),
    "i32": ("i", 4),
    "u64": ("Q", 8),
    "i64": ("q", 8),
}


class PartKind(StrEnum):
    """What an argument is."""

    HANDLE = "handle"
    NUMBER = "number"
    INPUT = "input"
    RECORD = "record"
    VALUE = "value"
    COUNT = "count"
    ARRAY = "array"
    TEXT = "text"
    NESTED = "nested"


@dataclass(frozen=True, slots=True)
class Part:
    """One argument, or one array that a record argument points at; `size` and `room` in bytes and elements."""

    name: str
    kind: PartKind
    detail: tuple[str, ...]
    optional: bool = False
    sent: bool = False

    @property
    def given_back(self) -> bool:
        """Whether an answer returns it; records are changed in place instead, counts follow from their arrays."""
        return self.kind in {PartKind.VALUE, PartKind.ARRAY, PartKind.TEXT, PartKind.NESTED}

    @property
    def text(self) -> str:
        """The part as the table writes it."""
        marks = ("?" if self.optional else "") + ("+" if self.sent else "")
        return ":".join([self.name + marks, self.kind, *self.detail])


def read_parts(text: str) -> tuple[Part, ...]:
    """Read one line of the table."""
    return tuple(_read(word) for word in text.split())


def _read(word: str) -> Part:
    marked, kind, *detail = word.split(":")
    name = marked.rstrip("?+")
    return Part(name, PartKind(kind), tuple(detail), "?" in marked, "+" in marked)
