"""The operations table on a real kernel in QEMU; needs `claimwright kernel-lab prepare` to have been run."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from claimwright.e2e.kernel_lab import Case, LabError, Result, differences, load_table, run_table
from claimwright.e2e.kernel_lab.emulated_world import fuse_world, in_process_world
from claimwright.e2e.kernel_lab.machine import KernelRun, Lab, Request, boot, find_lab, run_on_kernel
from claimwright.emulator.files import fuse_mounts

pytestmark = [pytest.mark.kernel, pytest.mark.slow]


@pytest.fixture(scope="module")
def lab() -> Lab:
    try:
        return find_lab()
    except LabError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def kernel_run(lab: Lab) -> KernelRun:
    return run_on_kernel(lab, deadline_seconds=180)


def _said(lab: Lab, argv: list[str], folder: Path = Path("/")) -> tuple[str, int]:
    lines = list(boot(lab, Request(argv, folder), deadline_seconds=120))
    return "".join(line["text"] for line in lines if line["kind"] == "output"), lines[-1]["code"]


@pytest.mark.parametrize("case", load_table(), ids=lambda case: f"{case.subject}: {case.name}")
def test_a_real_kernel_answers_as_the_table_says(case: Case, kernel_run: KernelRun):
    results = [
        result for result in kernel_run.results if (result.subject, result.case) == (case.subject, case.name)
    ]

    assert len(results) == len(case.steps)
    assert [str(result) for result in results if result.wrong] == []


def test_the_lab_offers_what_every_case_needs(kernel_run: KernelRun):
    assert kernel_run.not_run == ()


def test_the_emulator_in_process_and_a_real_kernel_do_not_differ(kernel_run: KernelRun):
    emulated = [each for each in run_table(load_table(), in_process_world()) if isinstance(each, Result)]

    assert list(differences(kernel_run.results, emulated)) == []
    assert len(emulated) == len(kernel_run.results)


def test_the_emulator_through_fuse_and_a_real_kernel_do_not_differ(kernel_run: KernelRun, tmp_path: Path):
    if why := fuse_mounts.usable():
        pytest.skip(why)

    with fuse_world(tmp_path) as world:
        emulated = [each for each in run_table(load_table(), world) if isinstance(each, Result)]

    assert list(differences(kernel_run.results, emulated)) == []
    assert len(emulated) == len(kernel_run.results)


def test_a_program_of_this_machine_runs_inside_and_its_exit_code_comes_out(lab: Lab, tmp_path: Path):
    (tmp_path / "told").write_text("from outside")
    program = (
        "import os; print(open('told').read(), os.uname().release, os.geteuid()); open('told', 'w'); exit(7)"
    )

    said, code = _said(lab, [sys.executable, "-c", program], tmp_path)

    assert said.startswith("from outside 6.")
    assert said.endswith("-claimwright-lab 0\n")
    assert code == 7
    assert (tmp_path / "told").read_text() == "from outside"


def test_a_program_that_is_not_there_is_told_by_name(lab: Lab):
    said, code = _said(lab, ["no-such-program"])

    assert (said, code) == ("no-such-program: No such file or directory\n", 127)


def test_a_machine_that_tells_no_end_is_ended_at_its_deadline(lab: Lab):
    began = time.monotonic()

    with pytest.raises(LabError, match="told no end within 3 s"):
        list(boot(lab, Request(["/bin/sleep", "600"]), deadline_seconds=3))

    assert time.monotonic() - began < 30
