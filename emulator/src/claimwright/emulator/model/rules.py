"""Rules about fields, as annotations: pydantic's, by name and arguments, made when something is first read.

Importing pydantic and building its models costs a third of a second, and a node process reads no profile. So
declarations name the rules here, and `checking` turns them into pydantic's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

if TYPE_CHECKING:
    from pydantic import JsonValue
else:

    class JsonValue:
        """Stands for pydantic.JsonValue in declarations."""


__all__ = [
    "AfterValidator",
    "BeforeValidator",
    "Field",
    "JsonValue",
    "NonNegativeInt",
    "PlainSerializer",
    "PlainValidator",
    "PositiveInt",
    "Rule",
]


class Rule:
    """One annotation of pydantic: what it is called there, and its arguments."""

    __slots__ = ("named", "positional")
    called: ClassVar[str]

    def __init__(self, *positional: object, **named: object) -> None:
        self.positional, self.named = positional, named


class Field(Rule):
    """Bounds, patterns, lengths, descriptions: `Field(ge=0)`."""

    __slots__ = ()
    called = "Field"

    def __init__(self, **named: object) -> None:
        super().__init__(**named)


class _Validator(Rule):
    __slots__ = ()

    def __init__(self, function: Callable[[Any], object]) -> None:
        super().__init__(function)


class BeforeValidator(_Validator):
    """A function that reads a value before its type is checked."""

    __slots__ = ()
    called = "BeforeValidator"


class AfterValidator(_Validator):
    """A function that judges a value whose type is right."""

    __slots__ = ()
    called = "AfterValidator"


class PlainValidator(_Validator):
    """A function that reads a value instead of its type."""

    __slots__ = ()
    called = "PlainValidator"


class PlainSerializer(Rule):
    """A function that writes a value."""

    __slots__ = ()
    called = "PlainSerializer"

    def __init__(self, function: Callable[[Any], object], *, return_type: type) -> None:
        super().__init__(function, return_type=return_type)


NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveInt = Annotated[int, Field(gt=0)]
