"""Supported clocks as one leaf: `2619:345-1980/15 1593:345-1980/15`, memory clock, lowest, highest and step, MHz.

Graphics clocks that no even steps lead through are listed: `5001:300,405,585`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from claimwright.emulator.model.board import ClockRange

_RANGE = re.compile(r"(\d{1,6}):(\d{1,6})-(\d{1,6})/(\d{1,6}(?:\.5)?)")
_LIST = re.compile(r"(\d{1,6}):(\d{1,6}(?:,\d{1,6})*)")


def written(clocks: Mapping[int, Sequence[int]]) -> str:
    """Write graphics clocks by memory clock."""
    return " ".join(
        _word(memory, clocks[memory]) for memory in sorted(clocks, reverse=True) if clocks[memory]
    )


def of_board(ranges: Sequence[ClockRange]) -> str:
    """Write the clocks of a board profile."""
    return written({each.memory: each.graphics for each in ranges})


def read(text: str) -> list[JsonValue]:
    """Read the leaf as the field `supported_clocks` of a board; ValueError names what is none.

    A board profile holds even steps: a list of uneven ones becomes the steps of 15 MHz below its highest.
    """
    return [_field(word) for word in text.split()]


def _field(word: str) -> JsonValue:
    if found := _RANGE.fullmatch(word):
        memory, lowest, highest = (int(each) for each in found.groups()[:3])
        return {"memory": memory, "lowest": lowest, "highest": highest, "step": float(found[4])}
    if found := _LIST.fullmatch(word):
        clocks = [int(each) for each in found[2].split(",")]
        spread = (max(clocks) - min(clocks)) // 15 * 15
        return {"memory": int(found[1]), "lowest": max(clocks) - spread, "highest": max(clocks), "step": 15.0}
    raise ValueError(f"{word[:60]!r} is not like 2619:345-1980/15 or 5001:300,405,585")


def _word(memory: int, graphics: Sequence[int]) -> str:
    clocks = sorted(graphics, reverse=True)
    spread = clocks[0] - clocks[-1]
    steps = {round(2 * spread / max(len(clocks) - 1, 1)) / 2 or 15.0, 15.0}
    for step in sorted(steps):
        if (
            list(ClockRange(memory=memory, lowest=clocks[-1], highest=clocks[0], step=step).graphics)
            == clocks
        ):
            return f"{memory}:{clocks[-1]}-{clocks[0]}/{step:g}"
    return f"{memory}:{','.join(map(str, reversed(clocks)))}"
