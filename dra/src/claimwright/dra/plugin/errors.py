"""What can go wrong with a plugin as a whole; faults of single claims are answers, not exceptions."""

from __future__ import annotations

from typing import Final

from claimwright.dra.errors import DraError

# What DroppedFields names when a server cannot store attributes that are lists.
LIST_ATTRIBUTES: Final = "attributes that are lists (DRAListTypeAttributes)"


class PluginError(DraError):
    """A fault outside of any call. `recoverable` ones are retried by the kit; others mean: restart."""

    def __init__(self, message: str, *, recoverable: bool) -> None:
        super().__init__(message)
        self.recoverable = recoverable


class DroppedFields(PluginError):
    """The API server stored a slice without some fields: a feature gate there is off."""

    def __init__(self, pool: str, fields: tuple[str, ...]) -> None:
        super().__init__(
            f"pool {pool!r}: the API server dropped {', '.join(fields)}; enable their feature gates",
            recoverable=True,
        )
        self.fields = fields


class SocketUnusable(PluginError):
    """A socket cannot be served."""

    def __init__(self, message: str) -> None:
        super().__init__(message, recoverable=False)


class ClaimGone(DraError):
    """The claim was deleted, or replaced by another one of the same name."""
