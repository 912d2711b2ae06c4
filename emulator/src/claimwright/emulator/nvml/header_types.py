"""The named types of nvml.h as values: which members a record has, in which order."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a record: a named type, or a record declared in place; `pointers` as in Parameter."""

    name: str
    type: str | CType
    pointers: int = 0
    counts: tuple[int, ...] = ()  # array bounds, outermost first


@dataclass(frozen=True, slots=True)
class CType:
    """One named type: a struct or union of members, or another name for `target`."""

    name: str
    kind: str  # "struct", "union", "enum", "handle" or "alias"
    members: tuple[Member, ...] = ()
    target: str = ""


_OPERATORS: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "<<": operator.lshift,
    "|": operator.or_,
}


def read_types(tree: Any) -> tuple[CType, ...]:  # noqa: ANN401 - pycparser has no types
    """Return every typedef of a parsed header, in order; array bounds are numbers already."""
    from pycparser import c_ast  # noqa: PLC0415 - a development package, needed by the generator alone

    constants: dict[str, int] = {}
    found = []
    for node in tree.ext:
        _learn_constants(node, constants)
        if isinstance(node, c_ast.Typedef):
            found.append(_named(node, constants))
    return tuple(found)


def _named(node: Any, constants: Mapping[str, int]) -> CType:  # noqa: ANN401
    from pycparser import c_ast  # noqa: PLC0415

    if isinstance(node.type, c_ast.PtrDecl):
        return CType(node.name, "handle")
    inner = node.type.type
    if isinstance(inner, c_ast.Struct | c_ast.Union):
        return _record(node.name, inner, constants)
    if isinstance(inner, c_ast.Enum):
        return CType(node.name, "enum")
    return CType(node.name, "alias", target=" ".join(inner.names))


def _record(name: str, node: Any, constants: Mapping[str, int]) -> CType:  # noqa: ANN401
    from pycparser import c_ast  # noqa: PLC0415

    kind = "union" if isinstance(node, c_ast.Union) else "struct"
    members = tuple(_member(item, constants) for item in node.decls or ())
    return CType(name, kind, members)


def _member(node: Any, constants: Mapping[str, int]) -> Member:  # noqa: ANN401
    from pycparser import c_ast  # noqa: PLC0415

    counts, pointers, kind = [], 0, node.type
    while isinstance(kind, c_ast.ArrayDecl):
        counts.append(_number(kind.dim, constants))
        kind = kind.type
    while isinstance(kind, c_ast.PtrDecl):
        pointers, kind = pointers + 1, kind.type
    inner = kind.type if isinstance(kind, c_ast.TypeDecl) else kind
    if isinstance(inner, c_ast.Struct | c_ast.Union):
        return Member(node.name or "", _record("", inner, constants), pointers, tuple(counts))
    if isinstance(inner, c_ast.Enum):
        return Member(node.name, "unsigned int", pointers, tuple(counts))
    return Member(node.name, " ".join(inner.names), pointers, tuple(counts))


def _learn_constants(node: Any, constants: dict[str, int]) -> None:  # noqa: ANN401
    """Remember the values of enumerators: array bounds use them."""
    from pycparser import c_ast  # noqa: PLC0415

    for enum in _enums(node, c_ast):
        value = -1
        for item in enum.values.enumerators if enum.values else ():
            value = value + 1 if item.value is None else _number(item.value, constants)
            constants[item.name] = value


def _enums(node: Any, c_ast: Any) -> Iterator[Any]:  # noqa: ANN401
    inner = getattr(getattr(node, "type", None), "type", None)
    for kind in (getattr(node, "type", None), inner):
        if isinstance(kind, c_ast.Enum):
            yield kind


def _number(node: Any, constants: Mapping[str, int]) -> int:  # noqa: ANN401
    from pycparser import c_ast  # noqa: PLC0415

    match node:
        case c_ast.Constant():
            return int(node.value.rstrip("uUlL"), 0)
        case c_ast.ID():
            return constants[node.name]
        case c_ast.UnaryOp():
            return (-1 if node.op == "-" else 1) * _number(node.expr, constants)
        case c_ast.Cast():
            return _number(node.expr, constants)
        case c_ast.BinaryOp():
            return _OPERATORS[node.op](_number(node.left, constants), _number(node.right, constants))
    raise TypeError(f"no constant: {type(node).__name__}")
