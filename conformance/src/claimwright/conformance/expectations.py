"""How a check states what it expects: one call, from which a failing id prints both sides."""

from __future__ import annotations

from typing import Any

from claimwright.conformance.errors import Violation
from claimwright.conformance.wire import PreparedDevice


def expect(holds: object, expected: str, seen: object) -> None:
    """Raise Violation unless `holds`; `expected` and `seen` are printed to the vendor."""
    if not holds:
        raise Violation(expected, str(seen) or repr(seen))


def expect_equal(seen: Any, expected: Any, what: str) -> None:  # noqa: ANN401 - any comparable value
    """Raise Violation unless both are equal."""
    expect(seen == expected, f"{what}: {show(expected)}", seen)


def show(value: object) -> str:
    """Write a value for a reader who knows no Python: lists by commas, pairs such as pool and device by a slash."""
    match value:
        case str():
            return value or "nothing"
        case PreparedDevice():
            ids = ", ".join(value.cdi_ids) or "no CDI id"
            return f"{value.pool}/{value.device} for {', '.join(value.requests) or 'any request'} as {ids}"
        case tuple() if value and not isinstance(value[0], PreparedDevice):
            return "/".join(map(show, value))
        case list() | set() | frozenset() | tuple():
            shown = sorted(map(show, value)) if isinstance(value, set | frozenset) else list(map(show, value))
            return ", ".join(shown) or "none"
        case _:
            return str(value)
