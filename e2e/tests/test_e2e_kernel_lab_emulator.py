"""The operations table on the emulator: in this process, and through FUSE."""

from __future__ import annotations

from pathlib import Path

import pytest

from claimwright.e2e.kernel_lab import Case, NotRun, Result, World, load_table, run_case, run_table
from claimwright.e2e.kernel_lab.emulated_world import fuse_world, in_process_world
from claimwright.emulator.files import fuse_mounts


def _wrong(case: Case, world: World) -> list[str]:
    return [str(result) for result in run_case(case, world) if result.wrong]


@pytest.fixture(scope="module")
def in_process() -> World:
    return in_process_world()


@pytest.mark.parametrize("case", load_table(), ids=lambda case: f"{case.subject}: {case.name}")
def test_the_emulator_answers_in_process_as_the_table_says(case: Case, in_process: World):
    assert case.needs <= in_process.offers
    assert _wrong(case, in_process) == []


@pytest.mark.e2e
@pytest.mark.slow
def test_the_emulator_answers_through_fuse_as_the_table_says(tmp_path: Path):
    if why := fuse_mounts.usable():
        pytest.skip(why)

    with fuse_world(tmp_path) as world:
        came = list(run_table(load_table(), world))

    assert [each for each in came if isinstance(each, NotRun)] == []
    assert [str(each) for each in came if isinstance(each, Result) and each.wrong] == []
    assert len(came) == sum(len(case.steps) for case in load_table())
    assert list(tmp_path.iterdir()) == []


def test_cases_leave_the_world_as_they_found_it(in_process: World):
    """In any order: here backwards, each after what the table puts behind it."""
    assert [wrong for case in reversed(load_table()) for wrong in _wrong(case, in_process)] == []
