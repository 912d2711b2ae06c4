# ruff: noqa: D103 - what a check judges is said once, in the registry
"""TRUTH: the declaration against what is observed."""

from __future__ import annotations

from claimwright.conformance.expectations import expect
from claimwright.conformance.observed import VISIBLE, observed_features
from claimwright.conformance.requirement_mark import requirement
from claimwright.conformance.stage import Stage


@requirement("DRA-TRUTH-001")
def test_what_is_declared_is_observed(stage: Stage) -> None:
    prepared = stage.prepared(stage.claim())
    observed = observed_features(stage.registration, stage.pools(), prepared, stage.specs())
    declared = set(stage.spec.features.supported)
    stage.observations["observed_features"] = sorted(observed)
    stage.observations["undeclared"] = sorted(observed - declared)
    unseen = sorted((declared & VISIBLE) - observed)
    expect(
        not unseen,
        f"a trace of each declared feature among {', '.join(sorted(VISIBLE))}",
        f"none of {unseen}",
    )
