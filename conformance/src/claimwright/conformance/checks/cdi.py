# ruff: noqa: D103 - what a check judges is said once, in the registry
"""CDI: what the container runtime reads."""

from __future__ import annotations

import threading

from claimwright.conformance.cdi_folder import SpecFile, parse_id, read_folder, resolve
from claimwright.conformance.cdi_rules import KNOWN_VERSIONS, faults_of, least_version
from claimwright.conformance.errors import NotApplicable, Violation
from claimwright.conformance.expectations import expect, expect_equal
from claimwright.conformance.requirement_mark import requirement
from claimwright.conformance.stage import Stage
from claimwright.conformance.wire import PreparedDevice

CYCLES = 5


@requirement("DRA-CDI-001")
def test_ids_are_fully_qualified(stage: Stage) -> None:
    for identifier in _ids(stage.prepared(stage.claim())):
        parse_id(identifier)


@requirement("DRA-CDI-002")
def test_every_id_resolves_to_one_device(stage: Stage) -> None:
    prepared = stage.prepared(stage.claim())
    specs = stage.specs()
    for identifier in _ids(prepared):
        found = [spec.path.name for spec, _ in resolve(specs, identifier)]
        there = [spec.path.name for spec in specs] or "an empty folder"
        expect(len(found) == 1, f"one definition of {identifier}", f"{found or 'none'} among {there}")


@requirement("DRA-CDI-003")
def test_specs_are_valid_for_their_version(stage: Stage) -> None:
    for spec in _specs_of(stage):
        faults = faults_of(spec.content)
        expect(not faults, f"{spec.path.name} to follow the CDI specification", "; ".join(faults))


@requirement("DRA-CDI-004")
def test_the_version_covers_the_fields(stage: Stage) -> None:
    for spec in _specs_of(stage):
        least, has = least_version(spec.content), str(spec.content.get("cdiVersion"))
        enough = has in KNOWN_VERSIONS and KNOWN_VERSIONS.index(has) >= KNOWN_VERSIONS.index(least)
        expect(enough, f"cdiVersion {least} or newer in {spec.path.name}", has)


@requirement("DRA-CDI-005")
def test_devices_are_mapped_to_their_requests(stage: Stage) -> None:
    first, second = stage.devices(2)
    prepared = stage.prepared(stage.claim(requests={"first": [first], "second": [second]}))
    wanted = sorted([(first.pool, first.name, ("first",)), (second.pool, second.name, ("second",))])
    found = sorted((one.pool, one.device, one.requests) for one in prepared)
    expect_equal(found, wanted, "pool, device and request of each entry")


@requirement("DRA-CDI-006")
def test_specs_are_complete_whenever_they_are_seen(stage: Stage) -> None:
    claim = stage.claim()
    done, broken = threading.Event(), []  # type: threading.Event, list[Violation]

    def read() -> None:
        while not done.wait(0.0005):
            try:
                read_folder(stage.instance.folders.cdi)
            except FileNotFoundError:
                continue  # removed between listing and reading: a runtime skips it as well
            except Violation as violation:
                broken.append(violation)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        for _ in range(CYCLES):
            stage.prepared(claim)
            stage.released(claim)
    finally:
        done.set()
        reader.join(5)
    if broken:
        raise broken[0]


def _ids(devices: tuple[PreparedDevice, ...]) -> list[str]:
    return [identifier for device in devices for identifier in device.cdi_ids]


def _specs_of(stage: Stage) -> list[SpecFile]:
    """Return the specs that define a freshly prepared claim."""
    identifiers = _ids(stage.prepared(stage.claim()))
    if not identifiers:
        raise NotApplicable("the driver gives no CDI id for its devices")
    specs = stage.specs()
    found = {spec.path: spec for one in identifiers for spec, _ in resolve(specs, one)}
    kinds = {parse_id(one)[0] for one in identifiers}
    found |= {spec.path: spec for spec in specs if spec.kind in kinds}
    expect(found, f"specs that define {', '.join(identifiers)}", [spec.path.name for spec in specs])
    return list(found.values())
