# ruff: noqa: D103 - what a check judges is said once, in the registry
"""META: device metadata files (KEP-5304)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from claimwright.conformance.cdi_folder import edits_of
from claimwright.conformance.errors import Violation
from claimwright.conformance.expectations import expect, expect_equal
from claimwright.conformance.requirement_mark import requirement
from claimwright.conformance.stage import Stage
from claimwright.conformance.wire import ClaimName

FOLDER: Final = "/var/run/kubernetes.io/dra-device-attributes/resourceclaims"


@dataclass(frozen=True, slots=True)
class _Mounted:
    host: Path
    options: tuple[str, ...]


@requirement("DRA-META-001")
def test_each_request_has_a_metadata_file(stage: Stage) -> None:
    (device,) = stage.devices()
    claim = stage.claim(requests={"device": [device]})
    mounted = _mounted(stage, claim)
    content = next(_objects(mounted.host.read_text(encoding="utf-8")))
    expect_equal(content["metadata"].get("uid"), claim.uid, "claim uid in the metadata")
    told = [(one["name"], d["pool"], d["name"]) for one in content["requests"] for d in one["devices"]]
    expect_equal(told, [("device", device.pool, device.name)], "request, pool and device in the metadata")


@requirement("DRA-META-002")
def test_metadata_cannot_be_written_by_others(stage: Stage) -> None:
    mounted = _mounted(stage, stage.claim())
    mode = mounted.host.stat().st_mode & 0o777
    expect(mode & 0o022 == 0, "a metadata file without write for group and others", oct(mode))
    expect("ro" in mounted.options, "mount option ro", mounted.options)


@requirement("DRA-META-003")
def test_metadata_goes_with_its_claim(stage: Stage) -> None:
    claim = stage.claim()
    mounted = _mounted(stage, claim)
    stage.released(claim)
    expect(not mounted.host.exists(), "no metadata file after the release", mounted.host.name)


def _mounted(stage: Stage, claim: ClaimName) -> _Mounted:
    prepared = stage.prepared(claim)
    identifiers = [identifier for one in prepared for identifier in one.cdi_ids]
    wanted = f"{FOLDER}/{claim.name}/device/{stage.spec.driver}-metadata.json"
    mounts = [mount for edits in edits_of(stage.specs(), identifiers) for mount in edits.get("mounts") or ()]
    for mount in mounts:
        if mount["containerPath"] == wanted:
            return _Mounted(stage.instance.reach(Path(mount["hostPath"])), tuple(mount.get("options") or ()))
    raise Violation(f"a mount at {wanted}", str([mount["containerPath"] for mount in mounts]))


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a stream of JSON objects, one per API version."""
    decoder, position = json.JSONDecoder(), 0
    while position < len(text.rstrip()):
        found, position = decoder.raw_decode(text, position)
        yield found
        position += len(text[position:]) - len(text[position:].lstrip())
