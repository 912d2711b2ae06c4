# ruff: noqa: D103 - what a check judges is said once, in the registry
"""SHARE and ADMIN: one claim or one device, several users."""

from __future__ import annotations

from claimwright.conformance import claims
from claimwright.conformance.cdi_folder import resolve
from claimwright.conformance.expectations import expect, expect_equal
from claimwright.conformance.requirement_mark import requirement
from claimwright.conformance.stage import Stage


@requirement("DRA-SHARE-001")
def test_a_shared_claim_is_prepared_alike_for_its_second_pod(stage: Stage) -> None:
    claim = stage.claim()
    first = stage.prepared(claim)
    stage.instance.reconnect(stage.registration)
    expect_equal(stage.prepared(claim), first, "devices for the second pod, over a new connection")


@requirement("DRA-SHARE-002")
def test_one_release_ends_a_claim_of_several_pods(stage: Stage) -> None:
    devices = stage.devices()
    claim = stage.claim(requests={"device": devices})
    prepared = [stage.prepared(claim) for _ in range(3)]
    with_ids = {identifier for reply in prepared for device in reply for identifier in device.cdi_ids}
    stage.released(claim)
    uid_left = [spec.path.name for spec in stage.specs() if claim.uid in spec.path.name + spec.text]
    expect(not uid_left, "no CDI spec that names the released claim", ", ".join(uid_left))
    own = {identifier for identifier in with_ids if claim.uid in identifier}
    expect(not any(resolve(stage.specs(), one) for one in own), "no id of the claim to resolve", sorted(own))
    stage.prepared(stage.claim(requests={"device": devices}))


@requirement("DRA-ADMIN-001")
def test_admin_access_is_granted_beside_a_holder(stage: Stage) -> None:
    devices = stage.devices()
    holder = stage.claim(requests={"device": devices})
    before = stage.prepared(holder)
    result = {
        **claims.result(stage.spec.driver, "device", devices[0].pool, devices[0].name),
        "adminAccess": True,
    }
    stage.prepared(stage.claim(requests={"device": ()}, results=[result], admin=True))
    expect_equal(stage.prepared(holder), before, "devices of the normal holder")
