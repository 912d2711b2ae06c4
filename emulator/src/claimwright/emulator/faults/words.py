"""Faults and calls as words: `nvlink-down gpu=0 link=4 for=30s`, on the command line and in scripts alike."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from claimwright.emulator.errors import ProfileError
from claimwright.emulator.faults.durations import parse_duration

_FOR = "for"


@dataclass(frozen=True, slots=True)
class Words:
    """A name, its parameters as JSON would give them, and for how long (None: until it is cleared)."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    lasting_seconds: float | None = None


def read_words(text: str) -> Words:
    """Read one line; ValueError says which word is wrong."""
    try:
        return words_of(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None


def words_of(words: Sequence[str]) -> Words:
    """Read separate words: the name first, then `key=value` in any order.

    `xid=79 gpu=3` without a name is the fault of that first key: an XID.
    """
    if not words:
        raise ValueError("expected a name, then key=value")
    name, rest = (words[0], words[1:]) if "=" not in words[0] else (words[0].partition("=")[0], words)
    given: dict[str, Any] = {}
    for word in rest:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ValueError(f"expected key=value, not {word!r}")
        if key in given:
            raise ValueError(f"{key!r} is given twice")
        given[key] = value if key == _FOR else _value(value)
    lasting = parse_duration(given.pop(_FOR)) if _FOR in given else None
    if lasting == 0:
        raise ValueError(f"{_FOR}=0 ends before it begins; expected a duration above 0")
    return Words(name, given, lasting)


def _value(text: str) -> Any:  # noqa: ANN401 - whatever a person wrote
    """Read a number, true, false, or a list as YAML does; all else is text."""
    from claimwright.emulator.model.profile_yaml import read_yaml  # noqa: PLC0415 - yaml is slow to load

    try:
        value, _ = read_yaml(text, "word")
    except ProfileError:
        return text
    return value if isinstance(value, bool | int | float | list | dict) else text
