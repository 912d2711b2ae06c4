"""Temperatures of a board, °C."""

from __future__ import annotations

from typing import Annotated

from claimwright.emulator.model.profile_text import Profile
from claimwright.emulator.model.rules import Field

Celsius = Annotated[int, Field(ge=-40, le=150)]


class Thresholds(Profile):
    """What happens at which temperature: how boards before Ada tell it."""

    shutdown: Celsius
    slowdown: Celsius
    max_operating: Celsius
    memory_max: Celsius | None = None


class TLimits(Profile):
    """What happens at which distance to the limit (T.Limit, falling): how Ada and later boards tell it."""

    limit_at: Celsius  # the temperature at which T.Limit reads 0
    shutdown: Celsius
    slowdown: Celsius
    max_operating: Celsius = 0
    memory_max: Celsius | None = None


class Thermals(Profile):
    """Temperatures at rest, and one of the two kinds of thresholds."""

    idle: Celsius
    memory_idle: Celsius | None = None
    thresholds: Thresholds | None = None
    tlimits: TLimits | None = None

    def margin(self, temperature: int) -> int | None:
        """Return what T.Limit reads at a temperature; None on boards that do not tell it."""
        return None if self.tlimits is None else self.tlimits.limit_at - temperature

    @property
    def slowdown_at(self) -> int:
        """The temperature from which the clocks are held back, of whichever kind of threshold."""
        if self.thresholds is not None:
            return self.thresholds.slowdown
        assert self.tlimits is not None
        return self.tlimits.limit_at - self.tlimits.slowdown

    @property
    def shutdown_at(self) -> int:
        """The temperature at which the board turns itself off."""
        if self.thresholds is not None:
            return self.thresholds.shutdown
        assert self.tlimits is not None
        return self.tlimits.limit_at - self.tlimits.shutdown
