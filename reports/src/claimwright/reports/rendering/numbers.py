"""Numbers as people read them: three significant digits, thin groups, the unit beside them."""

from __future__ import annotations

import math


def plain(value: float) -> str:
    """Write a number with three significant digits, never in exponent form."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}".replace(",", "\u202f")


def tick_label(value: float) -> str:
    """Write a round number without the zeros that say nothing."""
    text = plain(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def with_unit(value: float, unit: str) -> str:
    """Write a number with its unit, with a space that does not break."""
    return f"{plain(value)}\u00a0{unit}"


def ratio(value: float) -> str:
    """Write a ratio to a budget."""
    return f"{value:.2f}\u00d7" if value < 10 else f"{value:.0f}\u00d7"
