"""What is different between two descriptions of a node, by the paths that scripts and `--json` use."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Change = Mapping[str, Any]
_NOT_TOLD = {"revision"}  # it grows with every change: that is no news of its own
_NAMES = ("number", "id", "index", "pid", "name", "profile", "address")
_LONGEST = 60


def changes(before: Any, after: Any, path: str = "") -> Iterator[Change]:  # noqa: ANN401 - JSON
    """Yield `{"path": "gpus.3.lost", "was": false, "now": true}` for each value that differs.

    A list that became longer or shorter is one value: what stood at an index may stand at another.
    """
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys((*before, *after)):
            if key not in _NOT_TOLD:
                yield from changes(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (was, now) in enumerate(zip(before, after, strict=True)):
            yield from changes(was, now, f"{path}.{index}")
    else:
        yield {"path": path, "was": before, "now": after}


def change_line(change: Change) -> str:
    """Return a change as one line: values as JSON has them, lists by what came and went."""
    was, now = change["was"], change["now"]
    if isinstance(was, list) and isinstance(now, list):
        came = [f"+{_short(each)}" for each in now if each not in was]
        gone = [f"-{_short(each)}" for each in was if each not in now]
        return f"{change['path']}  {' '.join((*gone, *came))}"
    return f"{change['path']}  {_short(was)} → {_short(now)}"


def _short(value: object) -> str:
    """Return a value in few words: an object by what names it."""
    if isinstance(value, dict):
        named = [str(value[key]) for key in _NAMES if key in value]
        return f"({' '.join(named)})" if named else f"({', '.join(value)})"
    if isinstance(value, list):
        return f"[{' '.join(map(_short, value))}]"
    word = json.dumps(value) if value is None or isinstance(value, bool) else str(value)
    return word[:_LONGEST]
