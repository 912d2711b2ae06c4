"""Profiles as text: YAML in, pydantic values out, and errors that point at the line of the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from claimwright.emulator.errors import ProfileError

Place = tuple[str | int, ...]
ProfileT = TypeVar("ProfileT", bound="Profile")
EnumT = TypeVar("EnumT", bound=Enum)
_DEEPEST, _MOST_FIELDS = 50, 50_000  # YAML aliases can nest without end, and grow without bound


class Profile(BaseModel):
    """A frozen part of a profile; unknown keys and wrong types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)

    def contradictions(self) -> Iterator[tuple[Place, str]]:
        """Yield what the profile says against itself, as (place, sentence); each field alone is valid."""
        yield from ()


def by_name(kind: type[EnumT]) -> BeforeValidator:
    """Let a profile write a member of `kind` by its name in lower case."""
    return BeforeValidator(lambda value: _member(kind, value))


def _member(kind: type[EnumT], value: object) -> EnumT:
    if isinstance(value, kind):
        return value
    found = {member.name.lower(): member for member in kind}.get(str(value))
    if found is None:
        raise ValueError(f"{value!r} is not one of {', '.join(member.name.lower() for member in kind)}")
    return found


def parse_profile(kind: type[ProfileT], text: str, source: str) -> ProfileT:
    """Read one profile; ProfileError lists each fault as `source:line: field: what is wrong`."""
    data, lines = _read(text, source)
    try:
        # Strict mode takes objects and arrays for models and tuples only from JSON, not from Python values.
        profile = kind.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        raise _refusal(
            kind, source, lines, [(fault["loc"], said(fault)) for fault in error.errors()]
        ) from None
    found = list(profile.contradictions())
    if found:
        raise _refusal(kind, source, lines, found)
    return profile


def _read(text: str, source: str) -> tuple[object, dict[Place, int]]:
    """Return plain data and the line of each key; refuse a key given twice, which YAML loaders allow."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    lines: dict[Place, int] = {}
    try:
        node = loader.get_single_node()
        if node is None:
            raise ProfileError(f"{source}:1: the profile is empty")
        _note_lines(node, (), lines, source)
        return loader.construct_document(node), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise ProfileError(f"{source}:{line}: not YAML: {getattr(error, 'problem', error)}") from None
    finally:
        loader.dispose()


def _note_lines(node: yaml.Node, place: Place, lines: dict[Place, int], source: str) -> None:
    lines.setdefault(place, node.start_mark.line + 1)
    if len(place) > _DEEPEST or len(lines) > _MOST_FIELDS:
        raise ProfileError(
            f"{source}:{node.start_mark.line + 1}: nested too deep, or too long, for a profile"
        )
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note_lines(item, (*place, index), lines, source)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ProfileError(f"{source}:{key.start_mark.line + 1}: a key must be a word")
            if key.value in seen:
                raise ProfileError(f"{source}:{key.start_mark.line + 1}: {key.value!r} is given twice")
            seen.add(key.value)
            lines[*place, key.value] = key.start_mark.line + 1
            _note_lines(value, (*place, key.value), lines, source)


def _refusal(
    kind: type[Profile], source: str, lines: dict[Place, int], faults: list[tuple[Place, str]]
) -> ProfileError:
    noun = kind.__name__.removesuffix("Profile").lower()
    listed = "\n".join(
        f"  {source}:{_line(place, lines)}: {_dotted(place)}: {said}" for place, said in faults
    )
    return ProfileError(f"{source} is no valid {noun} profile:\n{listed}")


def _line(place: Place, lines: dict[Place, int]) -> int:
    """Find the nearest line that the text has for a place (a missing field is reported at its parent)."""
    for length in range(len(place), -1, -1):
        if place[:length] in lines:
            return lines[place[:length]]
    return 1


def _dotted(place: Place) -> str:
    return ".".join(str(part) for part in place) or "(whole file)"


def said(fault: ErrorDetails) -> str:
    """Say what is wrong with a field in the words of this project, where pydantic's are about its models."""
    plain = {
        "missing": "this field is required",
        "extra_forbidden": "unknown key; remove it or correct its name",
    }
    return plain.get(fault["type"]) or f"{fault['msg']} (got {_shown(fault['input'])})"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_file(path: Path) -> str:
    """Read a profile's text; ProfileError says why it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read as a profile: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ProfileError(f"{path}: cannot be read as a profile: not UTF-8 text ({error.reason})") from None
