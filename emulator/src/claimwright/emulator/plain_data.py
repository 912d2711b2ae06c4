"""Values of the model as what JSON can say."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any

from claimwright.emulator.model.checked import Checked


def plain(value: object) -> Any:  # noqa: ANN401 - JSON
    """Return a value as JSON has it: members by value, records field by field, whatever is no such thing as text."""
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Checked | Mapping) or dataclasses.is_dataclass(value):
        return {str(plain(key)): plain(each) for key, each in _members(value)}
    if isinstance(value, tuple | list | AbstractSet):
        return [plain(each) for each in value]
    return str(value)


def _members(value: Any) -> Iterable[tuple[object, object]]:  # noqa: ANN401 - a record or a mapping
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, Checked):
        return value.values().items()
    return ((each.name, getattr(value, each.name)) for each in dataclasses.fields(value))
