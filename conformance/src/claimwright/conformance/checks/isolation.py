# ruff: noqa: D103 - what a check judges is said once, in the registry
"""SEC: what a claim must not reach."""

from __future__ import annotations

import uuid
from fnmatch import fnmatch

from claimwright.conformance.cdi_folder import edits_of, spec_paths
from claimwright.conformance.errors import NotApplicable
from claimwright.conformance.expectations import expect, expect_equal
from claimwright.conformance.published import PublishedDevice
from claimwright.conformance.requirement_mark import requirement
from claimwright.conformance.stage import Stage
from claimwright.conformance.wire import ClaimName


@requirement("DRA-SEC-001")
def test_a_claim_gets_exactly_its_devices(stage: Stage) -> None:
    device, _another = stage.devices(2)
    prepared = stage.prepared(stage.claim(requests={"device": [device]}))
    found = sorted({(one.pool, one.device) for one in prepared})
    expect_equal(found, [(device.pool, device.name)], "devices of the claim")


@requirement("DRA-SEC-002")
def test_names_from_outside_never_become_paths(stage: Stage) -> None:
    stage.control()
    folders = stage.instance.folders
    canary = folders.work / f"canary-{uuid.uuid4().hex[:6]}.json"
    canary.write_text("{}", encoding="utf-8")
    before = sorted(folders.work.iterdir())
    for depth in range(1, 5):
        uid = "../" * depth + canary.stem
        some = [ClaimName(stage.namespace, f"{'../' * depth}{canary.name}", uid), ClaimName("..", "..", uid)]
        for claim in some:
            stage.prepare(claim)
            stage.unprepare(claim)
    expect(canary.exists(), "a file outside the driver's folders to stay", f"{canary.name} was removed")
    canary.unlink()
    strange = [path.name for path in folders.work.iterdir() if path not in before]
    expect(not strange, "nothing new beside the driver's folders", ", ".join(strange))


@requirement("DRA-SEC-003")
def test_cdi_specs_cannot_be_written_by_others(stage: Stage) -> None:
    stage.prepared(stage.claim())
    for path in spec_paths(stage.instance.folders.cdi):
        mode = path.stat().st_mode & 0o777
        expect(mode & 0o022 == 0, f"{path.name} without write for group and others", oct(mode))


@requirement("DRA-SEC-004")
def test_claims_on_different_devices_share_no_data_node(stage: Stage) -> None:
    if not stage.spec.node_paths.data:
        raise NotApplicable("the declaration names no spec.nodePaths.data")
    first, second = (_data_nodes(stage, [device]) for device in stage.devices(2))
    expect(first and second, "data device nodes for each claim", f"{sorted(first)} and {sorted(second)}")
    expect(not first & second, "no data device node in two claims", sorted(first & second))


def _data_nodes(stage: Stage, devices: list[PublishedDevice]) -> set[str]:
    prepared = stage.prepared(stage.claim(requests={"device": devices}))
    identifiers = [identifier for one in prepared for identifier in one.cdi_ids]
    nodes = {
        node["path"]
        for edits in edits_of(stage.specs(), identifiers)
        for node in edits.get("deviceNodes") or ()
    }
    return {path for path in nodes if any(fnmatch(path, glob) for glob in stage.spec.node_paths.data)}
