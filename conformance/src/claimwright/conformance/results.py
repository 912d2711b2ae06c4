"""The result of one requirement in one run, as it stands in `report.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from claimwright.conformance.outcomes import Judgement, Level, Outcome
from claimwright.conformance.registry import Requirement


@dataclass(slots=True)
class Result:
    """Outcome and evidence of one id; times in seconds, paths relative to the bundle."""

    id: str
    title: str
    level: Level
    layer: str
    outcome: Outcome
    reason: str = ""
    expected: str = ""
    seen: str = ""
    started_s: float = 0.0
    duration_s: float = 0.0
    budget_s: float = 0.0
    worker: str = ""
    features: list[str] = field(default_factory=list)
    maps_to: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    observations: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, requirement: Requirement, outcome: Outcome, reason: str = "") -> Result:
        """Start a result with what the registry knows."""
        return cls(
            id=requirement.id, title=requirement.title, level=requirement.level, layer=requirement.layer,
            outcome=outcome, reason=reason, budget_s=requirement.budget_s,
            features=list(requirement.features), maps_to=list(requirement.maps_to),
        )  # fmt: skip

    @classmethod
    def from_object(cls, values: dict[str, Any]) -> Result:
        """Read a result back from its JSON form."""
        named = {**values, "level": Level(values["level"]), "outcome": Outcome(values["outcome"])}
        return cls(**named)

    def as_object(self) -> dict[str, Any]:
        """Return the JSON form, of plain types only: it travels between the processes of xdist."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return plain

    @property
    def judgement(self) -> Judgement:
        """Return what the verdict depends on."""
        return Judgement(self.level, self.outcome)

    @property
    def area(self) -> str:
        """Return the middle word of the id."""
        return self.id.split("-")[1]
