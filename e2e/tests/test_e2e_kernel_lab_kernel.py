"""The operations table on a real kernel in QEMU; needs `claimwright kernel-lab prepare` to have been run."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from claimwright.cluster import for_stream
from claimwright.e2e.kernel_lab import (
    EMULATED_ONLY,
    Case,
    LabError,
    Result,
    differences,
    load_table,
    run_table,
)
from claimwright.e2e.kernel_lab.emulated_world import fuse_world, in_process_world
from claimwright.e2e.kernel_lab.machine import KernelRun, Lab, find_lab, run_on_kernel, run_program
from claimwright.emulator.files import fuse_mounts

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

_PROVABLE = [case for case in load_table() if not case.needs & EMULATED_ONLY]
_SECONDS = 120.0


@pytest.fixture(scope="module")
def lab() -> Lab:
    try:
        return find_lab()
    except LabError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def kernel_run(lab: Lab, request: pytest.FixtureRequest) -> KernelRun:
    """Give the table's run on the kernel; it takes a while, so it says what it does."""
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(file=sys.stderr)
        return run_on_kernel(lab, deadline_seconds=240, progress=for_stream(sys.stderr))


def _observed(kernel_run: KernelRun) -> list[Result]:
    """Return the emulator's results of the cases that a real kernel can take, to be compared one by one."""
    assert len(kernel_run.results) == sum(len(case.steps) for case in _PROVABLE)
    return list(kernel_run.results)


@pytest.mark.parametrize("case", _PROVABLE, ids=lambda case: f"{case.subject}: {case.name}")
def test_a_real_kernel_answers_as_the_table_says(case: Case, kernel_run: KernelRun):
    results = [
        result for result in kernel_run.results if (result.subject, result.case) == (case.subject, case.name)
    ]

    assert len(results) == len(case.steps)
    assert [str(result) for result in results if result.wrong] == []


def test_what_a_real_kernel_does_not_tell_is_named(kernel_run: KernelRun):
    assert [(each.case, each.missing) for each in kernel_run.not_run] == [
        (case.name, tuple(sorted(case.needs & EMULATED_ONLY)))
        for case in load_table()
        if case not in _PROVABLE
    ]


def test_the_emulator_in_process_and_a_real_kernel_do_not_differ(kernel_run: KernelRun):
    emulated = [each for each in run_table(_PROVABLE, in_process_world()) if isinstance(each, Result)]

    assert list(differences(_observed(kernel_run), emulated)) == []
    assert len(emulated) == len(kernel_run.results)


def test_the_emulator_through_fuse_and_a_real_kernel_do_not_differ(kernel_run: KernelRun, tmp_path: Path):
    if why := fuse_mounts.usable():
        pytest.skip(why)

    with fuse_world(tmp_path) as world:
        emulated = [each for each in run_table(_PROVABLE, world) if isinstance(each, Result)]

    assert list(differences(_observed(kernel_run), emulated)) == []
    assert len(emulated) == len(kernel_run.results)


def test_a_program_of_this_machine_runs_inside_and_its_exit_code_comes_out(lab: Lab, tmp_path: Path):
    (tmp_path / "told").write_text("from outside")
    program = (
        "import os, sys; print(open('told').read(), os.uname().release, os.geteuid(), os.environ['GREETING']);"
        " open('told', 'w'); print('grüße', file=sys.stderr); exit(7)"
    )

    ended = run_program(
        lab, [sys.executable, "-c", program], folder=tmp_path, environment={"GREETING": "it's me"},
        deadline_seconds=_SECONDS,
    )  # fmt: skip

    assert ended.stdout == f"from outside {ended.kernel} 0 it's me\n"
    assert (ended.stderr, ended.code) == ("grüße\n", 7)
    assert ended.kernel.endswith("-claimwright-lab")
    assert (tmp_path / "told").read_text() == "from outside"


_BINDING = """
import json, os
from pathlib import Path
devices = json.loads(os.environ["CLAIMWRIGHT_KERNEL_LAB"])
gpu, pci = devices["gpu"], Path("/sys/bus/pci")
def driver():
    return os.path.basename(os.readlink(pci / "devices" / gpu / "driver"))
told = [driver()]
(pci / "devices" / gpu / "driver/unbind").write_text(gpu)
(pci / "devices" / gpu / "driver_override").write_text("vfio-pci")
(pci / "drivers/vfio-pci/bind").write_text(gpu)
group = os.path.basename(os.readlink(pci / "devices" / gpu / "iommu_group"))
os.close(os.open(f"/dev/vfio/{group}", os.O_RDWR))
told.append(driver())
(pci / "devices" / gpu / "driver/unbind").write_text(gpu)
(pci / "devices" / gpu / "driver_override").write_text("\\n")
(pci / "drivers_probe").write_text(gpu)
print(json.dumps([*told, driver(), devices["gpu_driver"]]))
"""


def test_a_program_finds_the_lab_s_devices_and_binds_one_on_a_real_kernel(lab: Lab):
    ended = run_program(lab, [sys.executable, "-c", _BINDING], deadline_seconds=_SECONDS)

    assert (ended.code, ended.stderr) == (0, "")
    first, middle, last, home = json.loads(ended.stdout)
    assert (first, middle, last) == (home, "vfio-pci", home)


def test_a_program_that_is_not_there_is_told_by_name(lab: Lab):
    ended = run_program(lab, ["no-such-program"], folder=Path("/"), deadline_seconds=_SECONDS)

    assert (ended.stderr, ended.code) == ("no-such-program: No such file or directory\n", 127)


def test_a_program_killed_inside_has_the_code_that_shells_give(lab: Lab):
    ended = run_program(lab, ["/bin/sh", "-c", "kill -KILL $$"], folder=Path("/"), deadline_seconds=_SECONDS)

    assert ended.code == 128 + 9


def test_a_panic_is_told_with_its_console_long_before_the_deadline(lab: Lab):
    with pytest.raises(LabError, match=r"panicked \(sysrq triggered crash\)(.|\n)*Call Trace"):
        run_program(
            lab,
            ["/bin/sh", "-c", "echo c > /proc/sysrq-trigger"],
            folder=Path("/"),
            deadline_seconds=_SECONDS,
        )


def test_a_machine_that_tells_no_end_is_ended_at_its_deadline(lab: Lab):
    began = time.monotonic()

    with pytest.raises(LabError, match="no end within 3 s: it was late"):
        run_program(lab, ["/bin/sleep", "600"], deadline_seconds=3)

    assert time.monotonic() - began < 30
