"""What changed between two bundles, id by id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from claimwright.conformance.evidence.verify import read_report

_BETTER_FIRST = ("pass", "not-applicable", "unsupported", "skipped", "inconclusive", "error", "fail")


@dataclass(frozen=True, slots=True)
class Change:
    """One id whose outcome differs; `absent` stands for an id that a bundle does not have."""

    id: str
    level: str
    before: str
    after: str
    reason: str

    @property
    def worse(self) -> bool:
        """Tell whether this is a step back."""
        rank = {outcome: place for place, outcome in enumerate((*_BETTER_FIRST, "absent"))}
        return self.before == "pass" and rank[self.after] > rank[self.before]

    def as_object(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**asdict(self), "worse": self.worse}


def compare_bundles(before: Path, after: Path) -> list[Change]:
    """Return the ids whose outcomes differ, in the order of the newer bundle."""
    old, new = _results(before), _results(after)
    return [
        _change(old.get(one), new.get(one))
        for one in [*new, *(gone for gone in old if gone not in new)]
        if old.get(one, {}).get("outcome") != new.get(one, {}).get("outcome")
    ]


def _change(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Change:
    told = new or old
    assert told is not None
    before, after = (one["outcome"] if one else "absent" for one in (old, new))
    return Change(told["id"], told["level"], before, after, new["reason"] if new else "")


def _results(bundle: Path) -> dict[str, Mapping[str, Any]]:
    return {one["id"]: one for one in read_report(bundle)["results"]}
