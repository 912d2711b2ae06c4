# ruff: noqa: D103 - what a check judges is said once, in the registry
"""PREP: NodePrepareResources for claims that must be refused, each beside a control that must not."""

from __future__ import annotations

import uuid

from claimwright.conformance import claims
from claimwright.conformance.expectations import expect
from claimwright.conformance.requirement_mark import requirement
from claimwright.conformance.stage import Stage
from claimwright.conformance.wire import ClaimName
from claimwright.dra.kube import RESOURCE_CLAIMS


@requirement("DRA-PREP-003")
def test_a_claim_that_does_not_exist_is_refused(stage: Stage) -> None:
    stage.control()
    _expect_refusal(
        stage, ClaimName(stage.namespace, "never-created", str(uuid.uuid4())), "a claim without object"
    )


@requirement("DRA-PREP-004")
def test_a_stale_uid_is_refused(stage: Stage) -> None:
    stage.control()
    old = stage.claim()
    stage.delete(old)
    stage.claim(name=old.name)
    _expect_refusal(stage, old, f"uid {old.uid}, which an earlier claim of this name had")


@requirement("DRA-PREP-005")
def test_a_claim_without_allocation_is_refused(stage: Stage) -> None:
    stage.control()
    _expect_refusal(stage, stage.claim(allocated=False), "a claim without allocation")


@requirement("DRA-PREP-008")
def test_a_failing_claim_does_not_fail_its_neighbours(stage: Stage) -> None:
    stage.control()
    good, bad = stage.claim(), _claim_on_no_device(stage)
    reply = stage.prepare(good, bad)
    expect(
        not reply.rpc_error, "an error for the bad claim only", f"the whole call failed: {reply.rpc_error}"
    )
    expect(reply.error_of(bad.uid), "an error for the claim with an unknown device", "it was prepared")
    stage.devices_in(reply, good)


@requirement("DRA-PREP-009")
def test_an_unknown_device_is_refused_without_a_trace(stage: Stage) -> None:
    stage.control()
    with stage.nothing_left_of("a refused claim"):
        _expect_refusal(stage, _claim_on_no_device(stage), "an allocation of a device that is in no slice")


@requirement("DRA-PREP-011")
def test_a_device_that_another_claim_holds_is_refused(stage: Stage) -> None:
    devices = stage.devices()
    holder = stage.claim(requests={"device": devices})
    stage.prepared(holder)
    _expect_refusal(
        stage, stage.claim(requests={"device": devices}), f"{devices[0].name}, which {holder.name} holds"
    )
    stage.prepared(holder)


@requirement("DRA-PREP-019")
def test_a_refused_claim_is_prepared_once_its_cause_is_gone(stage: Stage) -> None:
    claim = stage.claim(allocated=False)
    _expect_refusal(stage, claim, "a claim without allocation")
    requests = {"device": stage.devices()}
    status = claims.allocation(stage.spec.driver, stage.instance.node, requests, (), ())
    current = stage.kube.get(RESOURCE_CLAIMS, claim.name, namespace=claim.namespace)
    stage.kube.replace_status(RESOURCE_CLAIMS, {**current, "status": {"allocation": status}})
    stage.prepared(claim)


def _claim_on_no_device(stage: Stage) -> ClaimName:
    pool = stage.pools()[0].name
    result = claims.result(stage.spec.driver, "device", pool, "no-such-device")
    return stage.claim(requests={"device": ()}, results=[result])


def _expect_refusal(stage: Stage, claim: ClaimName, what: str) -> None:
    reply = stage.prepare(claim)
    expect(reply.error_of(claim.uid), f"an error for {what}", reply.answers or "an empty reply without error")
