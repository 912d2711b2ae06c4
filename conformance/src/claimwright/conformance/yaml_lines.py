"""YAML read with the line of every field, so that an error can point at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from claimwright.conformance.errors import UsageError

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Lines:
    """The line of each field by its path from the root."""

    known: dict[Location, int]

    def of(self, location: Location) -> int:
        """Return the line of a field, or of the nearest parent that is written in the file."""
        while location and location not in self.known:
            location = location[:-1]
        return self.known.get(location, 1)


def read_yaml(path: Path) -> tuple[Any, Lines]:
    """Read one YAML document and where its fields are; a file that is none is the user's to correct."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or f"not UTF-8 text ({getattr(error, 'reason', error)})"
        raise UsageError(f"{path}: cannot be read: {said}") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise UsageError(f"{path}:{line}: no valid YAML: {getattr(error, 'problem', error)}") from None
    return content, Lines(dict(_walk(root, ())) if root else {})


def _walk(node: yaml.Node, location: Location) -> Iterator[tuple[Location, int]]:
    yield location, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*location, key.value)
            yield from _walk(value, inner)
            yield inner, key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(value, (*location, index))
