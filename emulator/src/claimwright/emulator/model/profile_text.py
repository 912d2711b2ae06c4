"""Profiles as text: YAML in, checked values out, and errors that point at the line of the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from claimwright.emulator.errors import ProfileError
from claimwright.emulator.model.checked import Checked
from claimwright.emulator.model.rules import BeforeValidator

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

Place = tuple[str | int, ...]
"""Where something stands in a profile: keys and indices from the top."""

ProfileT = TypeVar("ProfileT", bound="Profile")
EnumT = TypeVar("EnumT", bound=Enum)


class Profile(Checked):
    """A frozen part of a profile; unknown keys and wrong types are refused."""

    strict: ClassVar[bool] = True

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
    # Slow to load, and a node process reads no profile.
    from pydantic import ValidationError  # noqa: PLC0415

    from claimwright.emulator.model.profile_yaml import read_yaml  # noqa: PLC0415

    data, lines = read_yaml(text, source)
    try:
        # Strict mode takes objects and arrays for models and tuples only from JSON, not from Python values.
        profile = kind.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        raise _refusal(kind, source, lines, [(fault["loc"], said(fault)) for fault in _own(error)]) from None
    found = list(profile.contradictions())
    if found:
        raise _refusal(kind, source, lines, found)
    return profile


def _own(error: ValidationError) -> list[ErrorDetails]:
    """Return the faults without those that only follow: a list all of whose items are refused is "too short" too."""
    found = error.errors()
    places = [fault["loc"] for fault in found]
    return [
        fault
        for fault in found
        if fault["type"] != "too_short"
        or not any(place[: len(fault["loc"])] == fault["loc"] != place for place in places)
    ]


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
    if fault["type"] == "value_error":  # raised by a validator of this project: it names the value itself
        return fault["msg"].removeprefix("Value error, ")
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
