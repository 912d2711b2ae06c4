"""What a script expects of the node: values by their path in `node inspect --json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claimwright.emulator.errors import ExpectationFailed


def check_expected(described: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Compare a described node with what is expected of it; ExpectationFailed names path and values."""
    for path, wanted in expected.items():
        found = value_at(described, path)
        if found != wanted:
            raise ExpectationFailed(f"{path} is {found!r}, expected {wanted!r}")


def value_at(value: Any, path: str) -> Any:  # noqa: ANN401 - JSON
    """Return what a path such as `gpus.3.lost` leads to; ExpectationFailed says where it ends."""
    walked: list[str] = []
    for part in path.split("."):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, ValueError, TypeError):
            raise ExpectationFailed(
                f"{path}: no {part!r} in {'.'.join(walked) or 'the node'} ({_held(value)})"
            ) from None
        walked.append(part)
    return value


def _held(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(value)
    return f"{len(value)} items, from 0" if isinstance(value, list) else type(value).__name__
