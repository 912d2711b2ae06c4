"""What the measurement of prepares says of what it measured."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner

from claimwright.dra.slices import Device
from claimwright.e2e.commands import bench
from claimwright.e2e.prepare_bench import AT_ONCE, COLUMNS, KINDS, Cell, Kind, budget_figures, rows

PLAIN = {"prepare": [0.001, 0.002, 0.003, 0.010], "release": [0.001] * 4, "seconds": 0.5}
BROKEN_DOWN = {
    "prepare": [0.004, 0.004],
    "release": [0.001],
    "steps": {"prepare": {"claim/read": [0.002, 2], "journal/commit": [0.004, 2]}, "release": {}},
}


def published(*names: str) -> dict[str, Device]:
    return {name: Device(name=name) for name in names}


def test_a_cell_says_how_long_calls_took_and_what_share_of_it_each_step_had() -> None:
    cell = Cell.of("full", 1, PLAIN, BROKEN_DOWN)

    assert (cell.prepare.count, cell.prepare.p50, cell.prepare.p99) == (4, 3.0, 10.0)
    assert cell.cycles_per_second == 8
    assert cell.prepare.shares == {"claim/read": 0.25, "journal/commit": 0.5, "rest": 0.25}
    assert cell.release.shares == {"rest": 1.0}
    assert cell.prepare.spelled() == "journal/commit 50%, claim/read 25%, rest 25%"
    ((kind, at_once, calls, *_, steps),) = rows([cell])
    assert (kind, at_once, calls, steps) == ("full", "1", "4", cell.prepare.spelled())
    assert len(rows([cell])[0]) == len(COLUMNS)


def test_only_cells_of_whole_gpus_have_budgets() -> None:
    one, eight = Cell.of("full", 1, PLAIN, BROKEN_DOWN), Cell.of("full", 8, PLAIN, BROKEN_DOWN)

    assert [figure.kept for figure in budget_figures([one, eight])] == [False, False, True, False]
    assert budget_figures([Cell.of("MPS", 8, PLAIN, BROKEN_DOWN)]) == []


def test_each_claim_has_a_gpu_of_its_own_and_no_device_that_only_begins_alike() -> None:
    names = [f"gpu-{number}{form}" for number in range(16) for form in ("", "-mig-1g10gb-19-0")]
    exact, begun = Kind("a", "gpu-{gpu}$"), Kind("b", "gpu-{gpu}-mig-1g10gb")

    assert exact.devices(published(*names)) == [f"gpu-{number}" for number in range(16)]
    assert begun.devices(published(*names)) == [f"gpu-{number}-mig-1g10gb-19-0" for number in range(16)]
    with pytest.raises(LookupError, match=r"no device gpu-0-vgpu among gpu-0, "):
        Kind("c", "gpu-{gpu}-vgpu").devices(published(*names))


def test_every_kind_of_the_drivers_is_measured_with_as_many_claims_as_there_are_boards() -> None:
    assert [kind.name for kind in KINDS] == [
        "full", "static-MIG", "dynamic-MIG", "time-slice", "MPS", "shares", "VFIO-legacy", "VFIO-IOMMUFD",
        "mdev-vGPU", "SR-IOV-vGPU",
    ]  # fmt: skip
    assert AT_ONCE == (1, 2, 4, 8, 16)


def test_an_unknown_kind_is_refused_by_name() -> None:
    done = CliRunner().invoke(bench, ["prepare", "--kind", "fill"])

    assert done.exit_code == 2
    assert "unknown kind 'fill'; known: full, static-MIG" in done.output


@pytest.mark.e2e
@pytest.mark.parametrize("kind", ["full", "dynamic-MIG"])
def test_a_cell_is_measured_on_a_real_driver(kind: str) -> None:
    done = CliRunner().invoke(
        bench,
        ["prepare", "--kind", kind, "--at-once", "2", "--rounds", "2", "--json"],
        catch_exceptions=False,
    )

    assert done.exit_code == 0, done.output
    (cell,) = json.loads(done.stdout)["cells"]
    assert (cell["kind"], cell["at_once"], cell["prepare"]["count"]) == (kind, 2, 4)
    assert {"claim/read", "journal/commit", "claim-spec/do"} <= cell["prepare"]["shares"].keys()
    assert ("mig-partition/do" in cell["prepare"]["shares"]) == (kind == "dynamic-MIG")
    assert "claim/read" not in cell["release"]["shares"], "a release needs no claim"
    assert 0 < cell["prepare"]["p50"] < cell["prepare"]["p99"] < 60_000
    assert json.loads(done.stdout)["environment"]["cpus"] == os.cpu_count()
