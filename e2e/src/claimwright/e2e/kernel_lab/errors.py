"""What the kernel lab refuses or fails to do; every message says what to do about it."""

from __future__ import annotations


class LabError(Exception):
    """Anything that goes wrong in the kernel lab."""


class TableInvalid(LabError):
    """The operations table does not say what a table must; the message names file, case and step."""


class WorldBroken(LabError):
    """A world cannot be brought back to its first state, so that nothing learnt in it would count."""


class LabIncomplete(LabError):
    """Parts of the lab are not there; the message names them and the command that brings them."""
