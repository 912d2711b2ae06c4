# ruff: noqa: D103 - what a check judges is said once, in the registry
"""UNPREP: NodeUnprepareResources."""

from __future__ import annotations

import uuid

from claimwright.conformance import claims
from claimwright.conformance.cdi_folder import resolve
from claimwright.conformance.expectations import expect, expect_equal
from claimwright.conformance.requirement_mark import requirement
from claimwright.conformance.stage import Stage
from claimwright.conformance.wire import ClaimName, PreparedDevice

CYCLES = 3


@requirement("DRA-UNPREP-001")
def test_prepared_claims_are_released(stage: Stage) -> None:
    some = [stage.claim(requests={"device": [device]}) for device in stage.devices_up_to(2, at_least=1)]
    for claim in some:
        stage.prepared(claim)
    reply = stage.unprepare(*some)
    expect(not reply.rpc_error, "a reply", reply.rpc_error)
    expect_equal(sorted(reply.answers), sorted(claim.uid for claim in some), "uids in the reply")
    for claim in some:
        expect(not reply.error_of(claim.uid), f"{claim.name} to be released", reply.error_of(claim.uid))


@requirement("DRA-UNPREP-002")
def test_a_claim_that_was_never_prepared_is_released(stage: Stage) -> None:
    stage.released(stage.claim())
    stage.released(ClaimName(stage.namespace, "never-created", str(uuid.uuid4())))


@requirement("DRA-UNPREP-003")
def test_releasing_twice_succeeds(stage: Stage) -> None:
    claim = stage.claim()
    stage.prepared(claim)
    stage.released(claim)
    stage.released(claim)


@requirement("DRA-UNPREP-004")
def test_a_claim_is_released_after_its_object_is_gone(stage: Stage) -> None:
    devices = stage.devices()
    claim = stage.claim(requests={"device": devices})
    stage.prepared(claim)
    stage.delete(claim)
    stage.released(claim)
    stage.prepared(stage.claim(requests={"device": devices}))


@requirement("DRA-UNPREP-005")
def test_no_cdi_spec_is_left_of_a_released_claim(stage: Stage) -> None:
    stage.control()  # specs that a driver writes once, for all claims, are there after the first cycle
    with stage.nothing_left_of(f"{CYCLES} released claims"):
        for _ in range(CYCLES):
            claim = stage.claim()
            prepared = stage.prepared(claim)
            expect(_resolved(stage, prepared), "CDI ids that resolve while prepared (the control)", prepared)
            stage.released(claim)


@requirement("DRA-UNPREP-006")
def test_a_released_device_goes_to_another_claim(stage: Stage) -> None:
    devices = stage.devices()
    first, second = (stage.claim(requests={"device": devices}) for _ in range(2))
    stage.prepared(first)
    stage.released(first)
    stage.prepared(second)


@requirement("DRA-UNPREP-007")
def test_releasing_one_claim_leaves_the_others(stage: Stage) -> None:
    gone, stays = (stage.claim(requests={"device": [device]}) for device in stage.devices(2))
    stage.prepared(gone)
    before = stage.prepared(stays)
    stage.released(gone)
    expect(_resolved(stage, before), f"the CDI ids of {stays.name} to resolve still", _ids(before))
    expect_equal(stage.prepared(stays), before, f"devices of {stays.name} after the release of the other")


@requirement("DRA-UNPREP-008")
def test_a_released_claim_is_prepared_again(stage: Stage) -> None:
    claim = stage.claim()
    before = {(one.pool, one.device) for one in stage.prepared(claim)}
    stage.released(claim)
    expect_equal({(one.pool, one.device) for one in stage.prepared(claim)}, before, "devices")


@requirement("DRA-UNPREP-009")
def test_a_stale_uid_does_not_release_the_current_claim(stage: Stage) -> None:
    claim = stage.claim()
    before = stage.prepared(claim)
    stage.unprepare(ClaimName(claim.namespace, claim.name, str(uuid.uuid4())))
    expect(_resolved(stage, before), "the CDI ids of the current claim to resolve still", _ids(before))
    expect_equal(stage.prepared(claim), before, "devices of the current claim")


@requirement("DRA-UNPREP-010")
def test_a_claim_whose_prepare_failed_is_released(stage: Stage) -> None:
    result = claims.result(stage.spec.driver, "device", stage.pools()[0].name, "no-such-device")
    claim = stage.claim(requests={"device": ()}, results=[result])
    error = stage.prepare(claim).error_of(claim.uid)
    expect(error, "a refusal of an unknown device", "the claim was prepared")
    stage.released(claim)


def _ids(devices: tuple[PreparedDevice, ...]) -> list[str]:
    return [identifier for device in devices for identifier in device.cdi_ids]


def _resolved(stage: Stage, devices: tuple[PreparedDevice, ...]) -> bool:
    specs = stage.specs()
    return all(resolve(specs, identifier) for identifier in _ids(devices))
