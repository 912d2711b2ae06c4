# ruff: noqa: D103 - what a check judges is said once, in the registry
"""CLAIM: opaque configuration in claims."""

from __future__ import annotations

from claimwright.conformance.claims import Config
from claimwright.conformance.declaration import ConfigSample
from claimwright.conformance.errors import NotApplicable
from claimwright.conformance.expectations import expect
from claimwright.conformance.requirement_mark import requirement
from claimwright.conformance.stage import Stage


@requirement("DRA-CLAIM-001")
def test_valid_configurations_are_accepted(stage: Stage) -> None:
    for sample in stage.spec.configs.valid:
        claim = stage.claim(configs=[Config(stage.spec.driver, sample.parameters)])
        stage.prepared(claim)
        stage.released(claim)


@requirement("DRA-CLAIM-002")
def test_invalid_configurations_are_refused(stage: Stage) -> None:
    stage.control()
    for sample in stage.spec.configs.invalid:
        expect(
            _refusal(stage, sample), f"an error for configuration {sample.name!r}", "the claim was prepared"
        )


@requirement("DRA-CLAIM-003")
def test_the_refusal_names_what_is_wrong(stage: Stage) -> None:
    named = [sample for sample in stage.spec.configs.invalid if sample.names]
    if not named:
        raise NotApplicable("no sample in configs.invalid says what its refusal names")
    for sample in named:
        error = _refusal(stage, sample)
        expect(str(sample.names) in error, f"an error that names {sample.names!r}", repr(error))


@requirement("DRA-CLAIM-004")
def test_configuration_for_another_driver_is_ignored(stage: Stage) -> None:
    foreign = Config("other.conformance.claimwright.dev", {"nonsense": ["for", "somebody", "else"]})
    stage.prepared(stage.claim(configs=[foreign]))


def _refusal(stage: Stage, sample: ConfigSample) -> str:
    claim = stage.claim(configs=[Config(stage.spec.driver, sample.parameters)])
    reply = stage.prepare(claim)
    stage.unprepare(claim)
    return reply.error_of(claim.uid)
