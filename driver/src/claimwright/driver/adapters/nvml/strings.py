"""Strings as pynvml returns them: text or bytes, by function and version."""

from __future__ import annotations


def text_of(value: str | bytes) -> str:
    """Return text; what is no UTF-8 becomes visible marks."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
