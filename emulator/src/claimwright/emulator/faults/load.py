"""Shapes of load: what a script asks for, as percent over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from claimwright.emulator.faults.durations import parse_duration
from claimwright.emulator.faults.words import Words
from claimwright.emulator.model.checked import Checked
from claimwright.emulator.model.rules import BeforeValidator, Field

_Duration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
_Percent = Annotated[int, Field(ge=0, le=100)]
SHAPES = ("constant", "ramp", "square", "idle")


class Load(Checked):
    """A load on one GPU: `constant` holds `high`, `ramp` goes from `low` to `high`, `square` switches between both.

    `over` is its length, `period` that of one square wave (half high, half low); `idle` is no load, and cools.
    """

    shape: Literal["constant", "ramp", "square", "idle"]
    gpu: Annotated[int, Field(ge=0)]
    over: _Duration
    low: _Percent = 0
    high: _Percent = 100
    period: _Duration = 10.0

    def percent(self, seconds: float) -> int:
        """Return how busy the GPU is, seconds after the start; 0 before and after."""
        if not 0 <= seconds < self.over:
            return 0
        match self.shape:
            case "constant":
                return self.high
            case "ramp":
                return round(self.low + (self.high - self.low) * seconds / self.over)
            case "square":
                return self.high if seconds % self.period < self.period / 2 else self.low
            case "idle":
                return 0


def load_of(words: Words) -> Load:
    """Return the load that words describe; ValueError says what is wrong."""
    from pydantic import ValidationError  # noqa: PLC0415 - slow to load, and most nodes run no script

    given: Mapping[str, Any] = {"shape": words.name, **words.parameters}
    try:
        return Load.model_validate(dict(given))
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ValueError(f"load: {said}") from None
