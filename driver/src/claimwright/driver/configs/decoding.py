"""Decode opaque parameters: strictly from users, leniently from what was stored before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeVar

import pydantic
from pydantic.alias_generators import to_camel

from claimwright.driver.errors import ClaimRefused

API_VERSION = "resource.nvidia.com/v1beta1"
Strictness = Literal["forbid", "ignore"]


class Block(pydantic.BaseModel):
    """An object within a config; JSON types are taken as they are, `null` means absent."""

    model_config = pydantic.ConfigDict(
        strict=True, frozen=True, alias_generator=to_camel, hide_input_in_errors=True
    )


class Config(Block):
    """A whole config. `device_type` is the attribute `type` of devices that take it."""

    device_type: ClassVar[str]


SomeConfig = TypeVar("SomeConfig", bound=Config)


def decode_as(kind: type[SomeConfig], fields: Mapping[str, Any], *, unknown_fields: Strictness) -> SomeConfig:
    """Decode `fields` (without apiVersion and kind); ClaimRefused names each wrong field."""
    try:
        return kind.model_validate(dict(fields), extra=unknown_fields)
    except pydantic.ValidationError as error:
        raise ClaimRefused(_explain(error, kind.__name__, fields)) from error


def _explain(error: pydantic.ValidationError, kind: str, fields: Mapping[str, Any]) -> str:
    details = error.errors(include_url=False, include_context=False)
    unknown = [_path(detail["loc"]) for detail in details if detail["type"] == "extra_forbidden"]
    if unknown:
        return "strict decoding error: " + ", ".join(f'unknown field "{path}"' for path in unknown)
    wrong = (
        f"{_path(detail['loc'])} is {_value_at(fields, detail['loc'])!r}: {detail['msg']}"
        for detail in details
    )
    return f"{kind}: " + "; ".join(wrong)


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _value_at(fields: Any, location: tuple[int | str, ...]) -> object:  # noqa: ANN401  any JSON value
    for part in location:
        if not isinstance(fields, Mapping) or part not in fields:
            return None
        fields = fields[part]
    return fields
