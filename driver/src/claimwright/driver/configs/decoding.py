"""Decode opaque parameters: strictly from users, leniently from what was stored before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, Self, TypeVar

import pydantic
from pydantic.alias_generators import to_camel

from claimwright.driver.errors import ClaimRefused
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.quoting import shown

GPU_DRIVER: Final = "gpu.nvidia.com"
API_VERSION: Final = "resource.nvidia.com/v1beta1"
_MOST_COMPLAINTS: Final = 8
Strictness = Literal["forbid", "ignore"]


class Block(pydantic.BaseModel):
    """An object within a config; JSON types are taken as they are, `null` means absent."""

    model_config = pydantic.ConfigDict(
        strict=True, frozen=True, alias_generator=to_camel, hide_input_in_errors=True
    )


class Config(Block):
    """A whole config of one kind, which is named after its class.

    `driver` is whose opaque config it is, `device_type` the attribute `type` of devices that take it.
    """

    driver: ClassVar[str] = GPU_DRIVER
    api_version: ClassVar[str] = API_VERSION
    device_type: ClassVar[str]

    def check(self, gates: FeatureGates) -> None:
        """Refuse what decodes and still cannot be applied; ClaimRefused says what is wrong and what is allowed."""

    def normalised(self) -> Self:
        """Return it with defaults spelled out: configs that do the same are then equal."""
        return self

    def spelled(self) -> str:
        """Return it normalised, as canonical JSON; nothing when it asks for nothing."""
        text = json.dumps(
            self.normalised().model_dump(mode="json", by_alias=True, exclude_none=True), sort_keys=True
        )
        return "" if text == "{}" else text


SomeConfig = TypeVar("SomeConfig", bound=Config)


def decode_as(kind: type[SomeConfig], fields: Mapping[str, Any], *, unknown_fields: Strictness) -> SomeConfig:
    """Decode `fields` (without apiVersion and kind); ClaimRefused names each wrong field."""
    try:
        return kind.model_validate(dict(fields), extra=unknown_fields)
    except pydantic.ValidationError as error:
        raise ClaimRefused(_explain(error, kind, fields)) from error


def _explain(error: pydantic.ValidationError, kind: type[Config], fields: Mapping[str, Any]) -> str:
    details = error.errors(include_url=False, include_context=False)
    unknown = [detail["loc"] for detail in details if detail["type"] == "extra_forbidden"]
    if unknown:
        return strict_error([_unknown(kind, location) for location in unknown])
    wrong = [
        f"{_path(detail['loc'])} is {shown(_value_at(fields, detail['loc']))}: {detail['msg']}"
        for detail in details
    ]
    return f"{kind.__name__}: " + "; ".join(_first(wrong))


def _unknown(kind: type[Config], location: Sequence[int | str]) -> str:
    known = ", ".join(_known(kind, location)) or "none"
    return f'unknown field "{_path(location)}" (known: {known})'


def strict_error(complaints: Sequence[str]) -> str:
    """Say what a strict decoder refuses, in the words that the community driver's users search for."""
    return "strict decoding error: " + ", ".join(_first(complaints))


def _first(complaints: Sequence[str]) -> Sequence[str]:
    """Cut a long list: the whole text must fit into an event and into a gRPC status."""
    rest = len(complaints) - _MOST_COMPLAINTS
    return complaints if rest <= 0 else [*complaints[:_MOST_COMPLAINTS], f"and {rest} more"]


def _path(location: Sequence[int | str]) -> str:
    return ".".join(shown(part).strip("'\"") for part in location)


def _known(kind: type[Block], location: Sequence[int | str]) -> Sequence[str]:
    """Return the fields that the block around `location` has."""
    block = kind
    for part in location[:-1]:
        found = next((field for field in block.model_fields.values() if field.alias == part), None)
        inner = None if found is None else _block_of(found.annotation)
        if inner is None:
            return ()
        block = inner
    return [field.alias or name for name, field in block.model_fields.items()]


def _block_of(annotation: Any) -> type[Block] | None:  # noqa: ANN401  any annotation
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, Block) else None
    options = getattr(annotation, "__args__", ())
    return next((block for option in options if (block := _block_of(option)) is not None), None)


def _value_at(fields: Any, location: Sequence[int | str]) -> object:  # noqa: ANN401  any JSON value
    for part in location:
        if not isinstance(fields, Mapping) or part not in fields:
            return None
        fields = fields[part]
    return fields
