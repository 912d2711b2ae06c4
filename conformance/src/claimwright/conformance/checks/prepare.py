# ruff: noqa: D103 - what a check judges is said once, in the registry
"""PREP: NodePrepareResources for good claims."""

from __future__ import annotations

from claimwright.conformance import claims
from claimwright.conformance.expectations import expect, expect_equal
from claimwright.conformance.requirement_mark import requirement
from claimwright.conformance.stage import Stage

OTHER_DRIVER = "other.conformance.claimwright.dev"


@requirement("DRA-PREP-001")
def test_an_allocated_claim_is_prepared(stage: Stage) -> None:
    claim = stage.claim()
    reply = stage.prepare(claim)
    stage.observations["prepare_s"] = round(reply.duration_seconds, 6)
    expect(stage.devices_in(reply, claim), "at least one device", "an entry without devices")


@requirement("DRA-PREP-002")
def test_the_reply_has_one_entry_per_claim(stage: Stage) -> None:
    devices = stage.devices(2)
    some = [stage.claim(requests={"device": [device]}) for device in devices]
    reply = stage.prepare(*some)
    expect(not reply.rpc_error, "a reply", reply.rpc_error)
    expect_equal(sorted(reply.answers), sorted(claim.uid for claim in some), "uids in the reply")


@requirement("DRA-PREP-006")
def test_preparing_twice_gives_the_same_devices(stage: Stage) -> None:
    claim = stage.claim()
    first = stage.prepared(claim)
    expect_equal(stage.prepared(claim), first, "devices of the second reply")


@requirement("DRA-PREP-007")
def test_returned_devices_belong_to_the_allocation(stage: Stage) -> None:
    (device,) = stage.devices()
    for prepared in stage.prepared(stage.claim(requests={"device": [device]})):
        expect_equal((prepared.pool, prepared.device), (device.pool, device.name), "pool and device")


@requirement("DRA-PREP-010")
def test_results_of_other_drivers_are_ignored(stage: Stage) -> None:
    (device,) = stage.devices()
    foreign = claims.result(OTHER_DRIVER, "device", "their-pool", "their-device")
    prepared = stage.prepared(stage.claim(requests={"device": [device]}, results=[foreign]))
    found = sorted({(one.pool, one.device) for one in prepared})
    expect_equal(found, [(device.pool, device.name)], "devices of this driver only")


@requirement("DRA-PREP-012")
def test_claims_prepared_at_once_do_not_mix(stage: Stage) -> None:
    devices = stage.devices_up_to(4, at_least=2)
    some = [stage.claim(requests={"device": [device]}) for device in devices]
    for claim, device, reply in zip(some, devices, stage.prepare_together(some), strict=True):
        found = sorted({(one.pool, one.device) for one in stage.devices_in(reply, claim)})
        expect_equal(found, [(device.pool, device.name)], f"devices of {claim.name}, prepared beside others")


@requirement("DRA-PREP-013")
def test_the_same_claim_in_two_calls_at_once_gets_one_answer(stage: Stage) -> None:
    claim = stage.claim()
    first, second = (stage.devices_in(reply, claim) for reply in stage.prepare_together([claim, claim]))
    expect_equal(second, first, "devices of both replies")


@requirement("DRA-PREP-014")
def test_an_empty_request_gets_an_empty_reply(stage: Stage) -> None:
    reply = stage.prepare()
    expect(not reply.rpc_error and not reply.answers, "an empty reply", reply.rpc_error or reply.answers)


@requirement("DRA-PREP-015")
def test_sub_requests_are_answered_by_their_base_name(stage: Stage) -> None:
    for prepared in stage.prepared(stage.claim(requests={"base/sub": stage.devices()})):
        expect(set(prepared.requests) <= {"base"}, "request_names ['base'], or none", prepared.requests)


@requirement("DRA-PREP-016")
def test_the_older_version_gives_the_same_devices(stage: Stage) -> None:
    claim = stage.claim()
    newer = stage.prepared(claim, version="v1")
    expect_equal(stage.prepared(claim, version="v1beta1"), newer, "devices over v1beta1")


@requirement("DRA-PREP-017")
def test_a_request_for_two_devices_gets_both(stage: Stage) -> None:
    devices = stage.devices(2)
    prepared = stage.prepared(stage.claim(requests={"device": devices}))
    expect_equal({one.device for one in prepared}, {one.name for one in devices}, "devices of the request")
    for one in prepared:
        expect(set(one.requests) <= {"device"}, "request_names ['device'], or none", one.requests)


@requirement("DRA-PREP-018")
def test_an_abandoned_call_does_not_spoil_the_next(stage: Stage) -> None:
    claim = stage.claim()
    abandoned = stage.prepare(claim, seconds=0.001)
    stage.observations["abandoned_call"] = abandoned.rpc_error or "answered in time"
    stage.prepared(claim)
