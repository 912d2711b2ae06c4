"""Requirements as text for a terminal."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

from claimwright.conformance.registry import Requirement


def table(requirements: Sequence[Requirement]) -> str:
    """Return one line per requirement and a closing count."""
    lines = [f"{one.id:<16} {one.level:<7}{one.layer}  {one.title}" for one in requirements]
    levels = Counter(one.level.value for one in requirements)
    told = ", ".join(f"{number} {level}" for level, number in levels.items())
    return "\n".join([*lines, f"{len(requirements)} requirements ({told}); --explain ID tells more of one"])


def explanation(one: Requirement) -> str:
    """Return everything that the registry knows of one requirement."""
    mutants = "planned" if one.mutants == "planned" else ", ".join(one.killers_of) or "none"
    fields = {
        "level": f"{one.level} (since suite {one.since}, Kubernetes {one.k8s}, layer {one.layer})",
        "features": ", ".join(one.features) or "core",
        "why": one.rationale,
        "judged by": one.oracle,
        "source": "; ".join(one.maps_to),
        "budget": f"{one.budget_s:g} s",
        "mutants": mutants,
        "evidence": ", ".join(one.evidence),
        "run it": f"claimwright conformance run driver.yaml --only {one.id}",
    }
    return "\n".join([f"{one.id}  {one.title}", *(_field(name, text) for name, text in fields.items())])


def _field(name: str, text: str) -> str:
    return textwrap.fill(text, 100, initial_indent=f"  {name:<10} ", subsequent_indent=" " * 13)
