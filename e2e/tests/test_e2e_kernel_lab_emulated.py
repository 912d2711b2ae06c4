"""The emulator's files answer the operations table as the table says, which a real kernel confirms."""

from __future__ import annotations

import os

import pytest

from claimwright.e2e.kernel_lab import Result, World, load_table, run_table
from claimwright.e2e.kernel_lab.emulated import in_process_world, mounted_world


def wrong(world: World) -> list[str]:
    results = list(run_table(load_table(), world))
    assert sum(isinstance(result, Result) for result in results) > 100
    return [str(result) for result in results if isinstance(result, Result) and result.wrong]


@pytest.mark.slow
def test_in_this_process_every_operation_comes_out_as_the_table_says() -> None:
    assert wrong(in_process_world()) == []


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.skipif(
    os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK), reason="mounts FUSE, which needs root"
)
def test_through_fuse_every_operation_comes_out_as_the_table_says() -> None:
    with mounted_world() as world:
        assert wrong(world) == []
