"""How errors quote what users wrote: short, and printable whatever it is."""

from __future__ import annotations

import reprlib

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlevel = 2
_SHORT.maxdict = _SHORT.maxlist = 4


def shown(value: object) -> str:
    """Return `value` as Python spells it, cut to a length that fits into an error."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"  # longer ones cannot even be spelled
    return _SHORT.repr(value)


def quoted(text: str) -> str:
    """Return `text` in double quotes, cut, and with what cannot be printed escaped."""
    return f'"{shown(text)[1:-1]}"'
