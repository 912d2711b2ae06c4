"""The root of this room's error tree."""

from __future__ import annotations


class DraError(Exception):
    """Anything that claimwright.dra reports; sub-classes say what went wrong and who must act."""


class InvalidValue(DraError, ValueError):
    """A value breaks a rule of its API; the message names the field, the value and the rule."""
