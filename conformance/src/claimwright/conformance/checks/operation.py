# ruff: noqa: D103 - what a check judges is said once, in the registry
"""OPS: restart, crash, long life."""

from __future__ import annotations

from pathlib import Path

from claimwright.conformance.cdi_folder import resolve
from claimwright.conformance.expectations import expect, expect_equal
from claimwright.conformance.instance import Instance
from claimwright.conformance.requirement_mark import requirement
from claimwright.conformance.stage import Stage

CYCLES = 20
ALLOWED_GROWTH = 3  # descriptors that a library may open late: a pool's second connection, a log


@requirement("DRA-OPS-001")
def test_a_restarted_driver_answers_as_before(own_stage: Stage) -> None:
    _expect_same_answer(own_stage, kill=False)


@requirement("DRA-OPS-002")
def test_a_killed_driver_answers_as_before(own_stage: Stage) -> None:
    _expect_same_answer(own_stage, kill=True)


@requirement("DRA-OPS-003")
def test_a_claim_from_before_a_restart_is_released(own_stage: Stage) -> None:
    own_stage.control()
    devices = own_stage.devices()
    with own_stage.nothing_left_of("a claim that was prepared before a restart"):
        claim = own_stage.claim(requests={"device": devices})
        own_stage.prepared(claim)
        own_stage.instance.restart(kill=True)
        own_stage.released(claim)
    own_stage.prepared(own_stage.claim(requests={"device": devices}))


@requirement("DRA-OPS-004")
def test_cdi_specs_outlive_the_driver(own_stage: Stage) -> None:
    claim = own_stage.claim()
    prepared = own_stage.prepared(claim)
    own_stage.observations["exit_code"] = own_stage.instance.stop()
    specs = own_stage.specs()
    lost = [one for device in prepared for one in device.cdi_ids if not resolve(specs, one)]
    expect(not lost, "the CDI ids of a prepared claim to resolve while the driver is away", lost)
    own_stage.instance.disconnect()
    own_stage.instance.start()


@requirement("DRA-OPS-005")
def test_a_restart_publishes_the_same_devices(own_stage: Stage) -> None:
    before = _published(own_stage)
    own_stage.instance.restart()
    expect_equal(_published(own_stage), before, "pools and devices after the restart")


@requirement("DRA-OPS-006")
def test_rubbish_in_the_state_folder_does_not_stop_the_start(own_stage: Stage) -> None:
    own_stage.prepared(own_stage.claim())
    own_stage.instance.kill()
    for path in _files(own_stage.instance.folders.plugins):
        path.write_bytes(b"\x00\xffnot what was written here\n")
    own_stage.instance.disconnect()
    own_stage.instance.start()


@requirement("DRA-OPS-007")
def test_many_cycles_leave_nothing(stage: Stage) -> None:
    _cycle(stage)
    files, descriptors = _count_files(stage.instance), _descriptors(stage.instance)
    for _ in range(CYCLES):
        _cycle(stage)
    grown = _count_files(stage.instance) - files
    expect(grown <= 0, f"no new file after {CYCLES} cycles", f"{grown} more in the plugin and CDI folders")
    more = _descriptors(stage.instance) - descriptors
    stage.observations["descriptor_growth"] = more
    expect(more <= ALLOWED_GROWTH, f"at most {ALLOWED_GROWTH} more open descriptors", f"{more} more")


def _expect_same_answer(stage: Stage, *, kill: bool) -> None:
    claim = stage.claim()
    before = stage.prepared(claim)
    stage.instance.restart(kill=kill)
    expect_equal(stage.prepared(claim), before, "devices after the restart")


def _published(stage: Stage) -> dict[str, list[str]]:
    return {pool.name: sorted(device.name for device in pool.devices) for pool in stage.pools()}


def _cycle(stage: Stage) -> None:
    claim = stage.claim()
    stage.prepared(claim)
    stage.released(claim)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_socket()]


def _count_files(instance: Instance) -> int:
    return len(_files(instance.folders.plugins)) + len(_files(instance.folders.cdi))


def _descriptors(instance: Instance) -> int:
    """Return the open descriptors of the driver's process; 0 where its process is not known."""
    pid = instance.process.pid if instance.process else None
    folder = Path(f"/proc/{pid}/fd")
    return len(list(folder.iterdir())) if pid and folder.is_dir() else 0
