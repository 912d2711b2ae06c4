# ruff: noqa: D103 - what a check judges is said once, in the registry
"""SLICE: what the scheduler reads."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from claimwright.conformance.barriers import wait_until, watch_for
from claimwright.conformance.errors import NotApplicable
from claimwright.conformance.expectations import expect, expect_equal
from claimwright.conformance.published import PublishedPool
from claimwright.conformance.requirement_mark import requirement
from claimwright.conformance.stage import Stage
from claimwright.dra.kube import NODES, RESOURCE_SLICES, NotFound

STANDARD_FORMS = {
    "resource.kubernetes.io/pciBusID": (
        "string",
        re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]"),
    ),
    "resource.kubernetes.io/pcieRoot": ("string", re.compile(r"pci[0-9a-f]{4,8}:[0-9a-f]{2}")),
    "resource.kubernetes.io/numaNode": ("int", re.compile(r"\d+")),
}
QUIET_SECONDS = 1.5


@requirement("DRA-SLICE-001")
def test_every_pool_becomes_complete(stage: Stage) -> None:
    pools = stage.pools()
    devices = sum(len(pool.devices) for pool in pools)
    stage.observations |= {
        "pools": len(pools),
        "devices": devices,
        "slices": sum(len(p.slices) for p in pools),
    }
    expect(devices, "at least one device", f"{len(pools)} pool(s) without any")


@requirement("DRA-SLICE-002")
def test_device_names_are_unique_within_a_pool(stage: Stage) -> None:
    for pool in stage.pools():
        twice = [name for name, times in Counter(one.name for one in pool.devices).items() if times > 1]
        expect(
            not twice, f"every device name once in pool {pool.name}", f"more than once: {', '.join(twice)}"
        )


@requirement("DRA-SLICE-003")
def test_an_attribute_has_one_type(stage: Stage) -> None:
    types: dict[str, set[str]] = {}
    for device in _devices(stage.pools()):
        for name, value in device.attributes.items():
            types.setdefault(name, set()).update(value)
    mixed = {name: sorted(found) for name, found in types.items() if len(found) > 1}
    expect(not mixed, "one type for each attribute on all devices", mixed)


@requirement("DRA-SLICE-004")
def test_standard_attributes_have_their_form(stage: Stage) -> None:
    for device in _devices(stage.pools()):
        for name, (kind, form) in STANDARD_FORMS.items():
            for found, value in device.attributes.get(name, {}).items():
                texts = value if isinstance(value, list) else [value]
                good = found.rstrip("s") == kind and all(form.fullmatch(str(text)) for text in texts)
                expect(good, f"{name} of {device.name} as {kind} like {form.pattern}", {found: value})


@requirement("DRA-SLICE-005")
def test_slices_are_owned_by_their_node(stage: Stage) -> None:
    node = stage.kube.get(NODES, stage.instance.node)
    for pool in stage.pools():
        for one in pool.slices:
            owners = one["metadata"].get("ownerReferences") or []
            owned = any(
                owner["kind"] == "Node"
                and owner["uid"] == node["metadata"]["uid"]
                and owner.get("controller")
                for owner in owners
            )
            expect(owned, f"slice {one['metadata']['name']} controlled by node {stage.instance.node}", owners)


@requirement("DRA-SLICE-006")
def test_slices_stay_as_they_are(stage: Stage) -> None:
    _delete_one(stage, stage.pools())  # the barrier: the driver's loop is alive and has just finished a round
    stage.pools()
    before = wait_until(
        lambda: _settled(stage), stage.spec.budgets.publish_s, "slices that stand still for 0.3 s"
    )
    changed = watch_for(lambda: _versions(stage) != before, QUIET_SECONDS)
    expect(not changed, f"no write to any slice for {QUIET_SECONDS} s", f"{before} became {_versions(stage)}")


@requirement("DRA-SLICE-007")
def test_a_deleted_slice_comes_back(stage: Stage) -> None:
    before = stage.pools()
    _delete_one(stage, before)
    _wait_for_the_same(stage, before)


@requirement("DRA-SLICE-008")
def test_a_foreign_edit_is_repaired(stage: Stage) -> None:
    before = stage.pools()
    victim = next(one for pool in before for one in pool.slices if one["spec"].get("devices"))
    # A patch without a version: a driver that writes at the same moment must not make the edit fail.
    fewer = {"spec": {"devices": victim["spec"]["devices"][1:]}}
    stage.kube.patch(RESOURCE_SLICES, victim["metadata"]["name"], fewer)
    _wait_for_the_same(stage, before)


@requirement("DRA-SLICE-009")
def test_the_wipe_of_a_starting_kubelet_is_repaired(stage: Stage) -> None:
    before = stage.pools()
    stage.kube.delete_collection(RESOURCE_SLICES, field_selector=f"spec.nodeName={stage.instance.node}")
    _wait_for_the_same(stage, before)


@requirement("DRA-SLICE-010")
def test_a_physical_device_is_published_once(stage: Stage) -> None:
    if stage.spec.identity is None:
        raise NotApplicable("the declaration names no spec.deviceIdentity")
    name = stage.spec.identity.attribute
    whole = [device for device in _devices(stage.pools()) if not device.consumes and not device.multiple]
    identities = Counter(device.attribute(name, stage.spec.driver) for device in whole)
    identities.pop(None, None)
    expect(identities, f"attribute {name} on devices without shared counters", "none has it")
    twice = [identity for identity, times in identities.items() if times > 1]
    expect(not twice, f"every {name} once", f"more than once: {', '.join(map(str, twice))}")


@requirement("DRA-SLICE-011")
def test_slices_of_other_drivers_are_left_alone(stage: Stage) -> None:
    foreign = _foreign_slice(stage, "other.conformance.claimwright.dev", "elsewhere")
    before = stage.pools()
    _delete_one(stage, before)  # the barrier: after this repair the driver has looked at its slices once more
    _wait_for_the_same(stage, before)
    expect(_exists(stage, foreign), "the slice of another driver on the same node to stay", "it was deleted")


@requirement("DRA-SLICE-012")
def test_a_slice_of_a_vanished_pool_is_removed(stage: Stage) -> None:
    stale = _foreign_slice(stage, stage.spec.driver, "vanished")
    seconds = stage.spec.budgets.publish_s
    wait_until(
        lambda: not _exists(stage, stale), seconds, f"the removal of {stale}, of a pool that is no more"
    )


def _devices(pools: tuple[PublishedPool, ...]) -> list[Any]:
    return [device for pool in pools for device in pool.devices]


def _names(pools: tuple[PublishedPool, ...]) -> dict[str, list[str]]:
    return {pool.name: sorted(device.name for device in pool.devices) for pool in pools}


def _versions(stage: Stage) -> dict[str, str]:
    slices = stage.instance.slices(stage.kube)
    return {one["metadata"]["name"]: one["metadata"]["resourceVersion"] for one in slices}


def _settled(stage: Stage) -> dict[str, str] | None:
    before = _versions(stage)
    return None if watch_for(lambda: _versions(stage) != before, 0.3) else before


def _delete_one(stage: Stage, pools: tuple[PublishedPool, ...]) -> None:
    victim = pools[0].slices[-1]["metadata"]
    stage.kube.delete(RESOURCE_SLICES, victim["name"], uid=victim["uid"])


def _wait_for_the_same(stage: Stage, before: tuple[PublishedPool, ...]) -> None:
    def same() -> bool:
        now = stage.instance.complete_pools(stage.kube)
        return now is not None and _names(now) == _names(before)

    wait_until(
        same, stage.spec.budgets.publish_s, f"the same devices in complete pools again: {_names(before)}"
    )
    expect_equal(len(stage.pools()), len(before), "number of pools")


def _foreign_slice(stage: Stage, driver: str, pool: str) -> str:
    name = f"{stage.namespace}-{pool}"
    spec = {
        "driver": driver, "nodeName": stage.instance.node, "devices": [{"name": "no-such-device"}],
        "pool": {"name": f"{stage.instance.node}-{pool}", "generation": 1, "resourceSliceCount": 1},
    }  # fmt: skip
    stage.kube.create(
        RESOURCE_SLICES, {"metadata": {"name": name, "labels": dict(stage.labels)}, "spec": spec}
    )
    stage.ledger.owe(f"slice {name}", lambda: _remove(stage, name))
    return name


def _remove(stage: Stage, name: str) -> None:
    try:
        stage.kube.delete(RESOURCE_SLICES, name)
    except NotFound:
        return


def _exists(stage: Stage, name: str) -> bool:
    try:
        stage.kube.get(RESOURCE_SLICES, name)
    except NotFound:
        return False
    return True
