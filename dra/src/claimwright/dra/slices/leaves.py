"""Single values as the API writes them, `{"string": "mig"}`: equal ones share one object.

A board of eight partitionable GPUs has seven thousand of them and two hundred different ones. Who gets one reads it
and never changes it.
"""

from __future__ import annotations

import functools
from typing import Any, Final

_KEPT: Final = 4096
_SINGLE: Final = (str, int, bool)


@functools.lru_cache(_KEPT, typed=True)
def leaf(name: str, value: str | int | bool) -> dict[str, Any]:
    """Give `{name: value}`."""
    return {name: value}


def share_leaves(tree: dict[str, Any]) -> None:
    """Put shared objects in the places of all single values below `tree`, a JSON object that nobody else has."""
    for key, value in tree.items():
        if isinstance(value, dict):
            single = _shared(value)
            if single is None:
                share_leaves(value)
            else:
                tree[key] = single
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    share_leaves(item)


def _shared(value: dict[str, Any]) -> dict[str, Any] | None:
    if len(value) != 1:
        return None
    ((name, content),) = value.items()
    return leaf(name, content) if type(content) in _SINGLE else None
