"""nvml.h's records as ctypes classes of the same layout."""

from __future__ import annotations

from collections.abc import Iterator

from claimwright.emulator.nvml.header import Header
from claimwright.emulator.nvml.header_types import CType, Member

# x86-64 and arm64 Linux (LP64).
PLAIN = {
    "char": "c_char",
    "signed char": "c_int8",
    "unsigned char": "c_uint8",
    "short": "c_int16",
    "unsigned short": "c_uint16",
    "int": "c_int32",
    "unsigned int": "c_uint32",
    "long": "c_int64",
    "unsigned long": "c_uint64",
    "long long": "c_int64",
    "signed long long": "c_int64",
    "signed int": "c_int32",
    "unsigned": "c_uint32",
    "signed": "c_int32",
    "signed short": "c_int16",
    "unsigned long long": "c_uint64",
    "double": "c_double",
    "float": "c_float",
}


def record_lines(header: Header) -> Iterator[str]:
    """Yield the module's lines: a class per record, a name per alias of one, and the version words."""
    yield from ("from ctypes import *", "")
    known = dict(PLAIN)
    for each in header.types:
        yield from _type(each, known)
    yield from ("", "", "VERSION_WORDS = {")
    for name, word in header.version_words.items():
        yield f"    {known[name]}: {word:#x},"
    yield from ("}", "", "SIZES = {")
    for name, size in header.sizes.items():
        if known[name] not in PLAIN.values():
            yield f"    {known[name]}: {size},"
    yield "}"


def _type(each: CType, known: dict[str, str]) -> Iterator[str]:
    if each.kind in {"struct", "union"}:
        known[each.name] = each.name
        yield from ("", "", *_class(each.name, each, known))
        return
    name = {"enum": "c_uint32", "handle": "c_uint64"}.get(each.kind) or known[each.target]
    known[each.name] = name
    if name == each.target:
        yield from ("", "", f"{each.name} = {name}")


def _class(name: str, each: CType, known: dict[str, str]) -> Iterator[str]:
    inner = [
        (m, f"{name}_{m.name or index}") for index, m in enumerate(each.members) if isinstance(m.type, CType)
    ]
    for member, inner_name in inner:
        assert isinstance(member.type, CType)
        yield from (*_class(inner_name, member.type, known), "", "")
    yield f"class {name}({'Structure' if each.kind == 'struct' else 'Union'}):"
    nameless = [f'"_{index}"' for index, member in enumerate(each.members) if not member.name]
    if nameless:
        yield f"    _anonymous_ = ({', '.join(nameless)},)"
    yield "    _fields_ = ["
    for index, member in enumerate(each.members):
        kind = f"{name}_{member.name or index}" if isinstance(member.type, CType) else _plain(member, known)
        yield f'        ("{member.name or f"_{index}"}", {kind}{"".join(f" * {n}" for n in reversed(member.counts))}),'
    yield "    ]"


def _plain(member: Member, known: dict[str, str]) -> str:
    assert isinstance(member.type, str)
    return "c_uint64" if member.pointers else known[member.type]
