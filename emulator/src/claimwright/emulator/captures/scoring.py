"""Scores two captures against each other, leaf by leaf."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from claimwright.emulator.captures.capture import Capture

VOLATILE = re.compile(
    r"(.*\.)?(reading\..*|driver|serial|uuid|pdi|guid|fabric_guid|chassis_serial|cluster_uuid)"
)
"""Leaves that differ between two looks at one machine, or that scrubbing has numbered."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One leaf that two captures tell differently; None where one does not tell it."""

    path: str
    first: str | None
    second: str | None


@dataclass(frozen=True, slots=True)
class Parity:
    """How far two captures agree: `agreeing` of `compared` lasting leaves; volatile ones count apart."""

    compared: int
    agreeing: int
    differences: tuple[Difference, ...]
    volatile: tuple[Difference, ...]

    @property
    def percent(self) -> float:
        """The share of lasting leaves that agree; where there are none, nothing is shown to agree."""
        return 100.0 * self.agreeing / self.compared if self.compared else 0.0

    def described(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "compared": self.compared,
            "agreeing": self.agreeing,
            "percent": round(self.percent, 2),
            "differences": [_described(each) for each in self.differences],
            "volatile": [_described(each) for each in self.volatile],
        }


def parity(first: Capture, second: Capture, *, shared: bool = False) -> Parity:
    """Compare all leaves, or only those that both tell (`shared`: sources differ in how much they tell)."""
    one, other = first.leaves, second.leaves
    paths = sorted(one.keys() & other.keys() if shared else one.keys() | other.keys())
    lasting = [path for path in paths if not VOLATILE.fullmatch(path)]
    found = [
        Difference(path, one.get(path), other.get(path)) for path in paths if one.get(path) != other.get(path)
    ]
    steady = tuple(each for each in found if not VOLATILE.fullmatch(each.path))
    return Parity(
        compared=len(lasting),
        agreeing=len(lasting) - len(steady),
        differences=steady,
        volatile=tuple(each for each in found if VOLATILE.fullmatch(each.path)),
    )


def _described(difference: Difference) -> dict[str, str | None]:
    return {"path": difference.path, "first": difference.first, "second": difference.second}
