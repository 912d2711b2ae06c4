"""Lengths of time as people write them: `300ms`, `2.5s`, `1m30s`, `2h`."""

from __future__ import annotations

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
LONGEST_SECONDS = 7 * 24 * 3600.0


def parse_duration(text: object) -> float:
    """Return seconds; a bare number is seconds too. ValueError says what was expected."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        seconds = float(text)
    else:
        parts = _PART.findall(str(text))
        if not parts or "".join(map("".join, parts)) != str(text).replace(" ", ""):
            raise ValueError(f"{text!r} is no duration; expected a form such as 300ms, 2.5s or 1m30s")
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not 0 <= seconds <= LONGEST_SECONDS:
        raise ValueError(f"{text!r} is outside 0s..{LONGEST_SECONDS / 3600:.0f}h")
    return seconds


def duration_text(seconds: float) -> str:
    """Return seconds in the shortest such form."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{rest:.4g}s" if not minutes else f"{minutes:.0f}m{rest:.4g}s" if rest else f"{minutes:.0f}m"
