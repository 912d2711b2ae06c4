"""How a check states what it expects: one call, from which a failing id prints both sides."""

from __future__ import annotations

from typing import Any

from claimwright.conformance.errors import Violation


def expect(holds: object, expected: str, seen: object) -> None:
    """Raise Violation unless `holds`; `expected` and `seen` are printed to the vendor."""
    if not holds:
        raise Violation(expected, str(seen) or repr(seen))


def expect_equal(seen: Any, expected: Any, what: str) -> None:  # noqa: ANN401 - any comparable value
    """Raise Violation unless both are equal."""
    expect(seen == expected, f"{what}: {expected}", seen)
