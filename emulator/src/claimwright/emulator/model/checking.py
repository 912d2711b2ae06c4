"""Reads and writes `Checked` values with pydantic: each class has a pydantic model of the same fields and rules."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache, partial, reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import pydantic
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, create_model
from pydantic_core import CoreSchema, core_schema

from claimwright.emulator.model.checked import REQUIRED, Checked
from claimwright.emulator.model.rules import JsonValue, Rule

CheckedT = TypeVar("CheckedT", bound=Checked)


def read(kind: type[CheckedT], given: object) -> CheckedT:
    """Return a value of the class; pydantic's ValidationError lists what is wrong."""
    return _made(kind, model_of(kind).model_validate(given))


def read_json(kind: type[CheckedT], text: str | bytes) -> CheckedT:
    """Return a value of the class from JSON; pydantic's ValidationError lists what is wrong."""
    return _made(kind, model_of(kind).model_validate_json(text))


def as_model(value: Checked) -> BaseModel:
    """Return the value as one of its class's model, for writing."""
    fields = {name: _as_models(each) for name, each in value.values().items()}
    return model_of(type(value)).model_construct(set(fields), **fields)


def model_of(kind: type[Checked]) -> type[BaseModel]:
    """Return the model with a class's fields."""
    hashable: Any = kind  # a class is, though mypy looks at the __hash__ of its values
    return _model_of(hashable)


@cache
def _model_of(kind: Any) -> type[BaseModel]:  # noqa: ANN401 - see model_of
    hints = get_type_hints(kind, include_extras=True)
    fields: dict[str, Any] = {
        name: (real(hints[name]), _default(each)) for name, each in kind.defaults.items()
    }
    config = ConfigDict(frozen=True, extra="forbid", strict=kind.strict, arbitrary_types_allowed=True)
    return create_model(kind.__name__, __config__=config, __module__=kind.__module__, **fields)


def schema_of(kind: type[Checked], handler: GetCoreSchemaHandler) -> CoreSchema:
    """Let fields of other models be of a class: read as its model, then made into the class."""
    return core_schema.no_info_after_validator_function(
        partial(_made, kind), handler.generate_schema(model_of(kind))
    )


def real(annotation: Any) -> Any:  # noqa: ANN401 - annotations have no type
    """Return an annotation with pydantic's own rules instead of their names."""
    if annotation is JsonValue:
        return pydantic.JsonValue
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is None or origin is Literal:
        return annotation
    if origin is Annotated:
        inner, *rules = arguments
        return Annotated[(real(inner), *map(_real_rule, rules))]
    parts = tuple(part if part is Ellipsis else real(part) for part in arguments)
    return reduce(or_, parts) if origin in {Union, UnionType} else origin[parts]


def _real_rule(rule: object) -> object:
    if not isinstance(rule, Rule):
        return rule
    return getattr(pydantic, rule.called)(*rule.positional, **rule.named)


def _default(default: object) -> object:
    if isinstance(default, dataclasses.Field):
        assert default.default_factory is not dataclasses.MISSING
        return pydantic.Field(default_factory=default.default_factory)
    return ... if default is REQUIRED else default


def _made(kind: type[CheckedT], model: BaseModel) -> CheckedT:
    return kind(**model.__dict__)


def _as_models(value: object) -> object:
    if isinstance(value, Checked):
        return as_model(value)
    if type(value) is tuple:  # not a named one, which a rule writes
        return tuple(map(_as_models, value))
    if isinstance(value, Mapping):
        return {key: _as_models(each) for key, each in value.items()}
    return value
