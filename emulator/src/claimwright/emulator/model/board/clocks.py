"""Clocks, MHz: by domain, and the pairs of memory and graphics clock that a board offers."""

from __future__ import annotations

from typing import Annotated

from claimwright.emulator.model.profile_text import Profile
from claimwright.emulator.model.rules import Field, PositiveInt


class Clocks(Profile):
    """One clock per domain."""

    graphics: PositiveInt
    sm: PositiveInt
    memory: PositiveInt
    video: PositiveInt


class ApplicationClocks(Profile):
    """The pair that processes run at unless told otherwise, where it is not the highest."""

    graphics: PositiveInt
    memory: PositiveInt


class ClockRange(Profile):
    """The graphics clocks that go with one memory clock: `lowest` and every `step` above it.

    Blackwell steps by 7.5 MHz and NVML gives whole MHz, cut off: 120, 127, 135, …
    """

    memory: PositiveInt
    lowest: PositiveInt
    highest: PositiveInt
    step: Annotated[float, Field(gt=0, multiple_of=0.5)] = 15.0

    @property
    def graphics(self) -> tuple[int, ...]:
        """All graphics clocks, highest first, as NVML lists them."""
        count = int((self.highest + 0.5 - self.lowest) / self.step)
        return tuple(int(self.lowest + self.step * index) for index in range(count, -1, -1))
