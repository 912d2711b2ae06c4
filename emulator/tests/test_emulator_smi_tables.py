"""nvidia-smi's tables, as people read them and scripts cut them: columns, names too long, what is not told."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from claimwright.emulator.model import build_node, load_node_profile, node_names
from claimwright.emulator.model.operations import faults, gpus
from claimwright.emulator.testing import Served

WIDTH = 91
LONG_NAME = "/usr/libexec/a-process-whose-name-has-no-end/and-a-program"


@pytest.fixture
def workstation(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "root", "rtx-pro-6000") as node:
        yield node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "root", "hgx-h100") as served:
        yield served


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A process of a long name."""
    process = subprocess.Popen([LONG_NAME, "-c", "import signal; signal.pause()"], executable=sys.executable)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def lines(said: str) -> list[str]:
    return [line for line in said.splitlines()[1:] if line]


def test_a_board_name_that_is_too_long_loses_its_end(workstation: Served) -> None:
    _, said = workstation.smi()
    assert "|   0  NVIDIA RTX PRO 6000 Blac...    Off |" in said
    assert {len(line) for line in lines(said)} == {WIDTH}


def test_a_process_name_that_is_too_long_loses_its_beginning(workstation: Served, sleeper: int) -> None:
    workstation.model.perform(gpus.start_process, 0, sleeper, "x", 1234 << 20)
    _, said = workstation.smi()
    row = next(line for line in said.splitlines() if str(sleeper) in line)
    assert row.startswith(f"|    0   N/A  N/A {sleeper:>15}      C   ")
    assert row.endswith("1234MiB |")
    assert re.search(r"   (\.\.\.\S{29})  ", row)
    assert len(row) == WIDTH
    _, log = workstation.smi("-q", "-d", "PIDS")
    assert LONG_NAME in log


def test_the_errors_column_says_how_errors_are_counted(node: Served) -> None:
    node.smi("-i", "1", "-mig", "1")
    node.smi("-i", "2", "-e", "0")
    node.smi("-i", "2", "-r")
    node.model.perform(gpus.count_ecc_errors, 3, uncorrected=7)
    _, said = node.smi()
    rows = re.findall(r"^\|  +\d  NVIDIA .*\| +(\S+) \|$", said, re.MULTILINE)
    assert rows == ["0", "On", "Off", "7", "0", "0", "0", "0"]


def test_a_board_without_a_reading_shows_so_in_its_place(tmp_path: Path) -> None:
    state = build_node(load_node_profile("l4"), "node")
    with Served(tmp_path / "root", state) as node:
        _, said = node.smi()
    (row,) = (line for line in said.splitlines() if line.startswith("| N/A") or "C    P" in line)
    assert len(row) == WIDTH


@pytest.mark.parametrize(
    ("driver", "rule", "gap"),
    [("570.148.08", "|-", " " * 89), ("580.126.20", "+-", ""), ("595.91.07", "+-", "")],
)
def test_the_table_looks_as_that_of_the_drivers_branch(
    tmp_path: Path, driver: str, rule: str, gap: str
) -> None:
    state = replace(build_node(load_node_profile("hgx-h100"), "node"), driver_version=driver)
    with Served(tmp_path / "root", state) as node:
        node.smi("-i", "0", "-mig", "1")
        _, said = node.smi("-i", "0")
    rows = said.splitlines()
    assert re.fullmatch(r"\w{3} \w{3} +\d+ [\d:]{8} \d{4} {7}", rows[0])
    assert rows[3].startswith(rule)
    assert rows[rows.index(next(row for row in rows if row.startswith("| Processes"))) - 2] == gap
    assert ("Shared Memory-Usage" in said) == (driver > "580")
    assert "No MIG devices found" in said


@pytest.mark.parametrize(
    ("driver", "gone"),
    [
        ("570.148.08", set()),
        ("580.126.20", {"display_mode"}),
        ("595.91.07", {"display_mode", "power.management", "clocks.applications.gr"}),
    ],
)
def test_properties_that_the_driver_gave_up_say_so_in_brackets(
    tmp_path: Path, driver: str, gone: set[str]
) -> None:
    names = ["display_mode", "power.management", "clocks.applications.gr", "clocks.gr"]
    state = replace(build_node(load_node_profile("l4"), "node"), driver_version=driver)
    with Served(tmp_path / "root", state) as node:
        _, said = node.smi(f"--query-gpu={','.join(names)}", "--format=csv,noheader")
    cells = dict(zip(names, said.strip().split(", "), strict=True))
    assert {name for name in names if cells[name] == "[Requested functionality has been deprecated]"} == gone


def test_mig_devices_are_shown_as_the_real_table_does(node: Served) -> None:
    node.smi("-i", "0", "-mig", "1")
    node.smi("mig", "-i", "0", "-cgi", "9,19", "-C")
    _, said = node.smi("-i", "0")
    assert (
        "|  0    2   0   0  |               0MiB / 40448MiB    | 60      0 |  3   0    3    0    3 |" in said
    )
    assert {len(line) for line in lines(said)} == {WIDTH}


def test_mig_instances_are_listed_small_profiles_first(node: Served) -> None:
    node.smi("-i", "0", "-mig", "1")
    node.smi("mig", "-i", "0", "-cgi", "9,19,19", "-C")
    _, said = node.smi("mig", "-i", "0", "-lgi")
    assert said.splitlines()[2:5] == [
        "| GPU   Name               Profile  Instance   Placement  |",
        "|                            ID       ID       Start:Size |",
        "|=========================================================|",
    ]
    assert said.splitlines()[5::2] == [
        "|   0  MIG 1g.10gb           19        7          0:1     |",
        "|   0  MIG 1g.10gb           19        8          1:1     |",
        "|   0  MIG 3g.40gb            9        2          4:4     |",
    ]
    _, said = node.smi("mig", "-i", "0", "-lci", "-gi", "2")
    assert said.splitlines()[6] == "|   0      2       MIG 3g.40gb          2         0          0:3     |"
    _, said = node.smi("mig", "-i", "0", "-lcip", "-gi", "2")
    first, whole = (
        "MIG 1c.3g.40gb       0      0/3           16",
        "MIG 3g.40gb          2*     0/1           60",
    )
    for line, begin in ((6, first), (12, whole)):
        assert said.splitlines()[line] == f"|   0      2       {begin}        3     0     0   |"


@pytest.mark.parametrize(("profile", "linked"), [("hgx-h100", "OK"), ("l4x4", "NS")])
def test_peers_are_linked_as_the_board_is(tmp_path: Path, profile: str, linked: str) -> None:
    with Served(tmp_path / "root", profile) as node:
        for capability, word in {"r": "OK", "n": linked}.items():
            code, said = node.smi("topo", "-p2p", capability, "-i", "0,1")
            assert (code, said.splitlines()[:3]) == (
                0,
                [" \tGPU0\tGPU1", f" GPU0\tX\t{word}", f" GPU1\t{word}\tX"],
            )
        assert node.smi("topo", "-p2p", "x")[0] == 2


def test_the_inforom_and_the_name_that_an_administrator_gave_can_be_asked_for(tmp_path: Path) -> None:
    fields = "--query-gpu=inforom.checksum_validation,hostname"
    with Served(tmp_path / "root", "hgx-b200") as node:
        node.python(
            """
            name = n.create_string_buffer(b"left", 64)
            g = n.nvmlDeviceGetHandleByIndex(0)
            assert n._nvmlGetFunctionPointer("nvmlDeviceSetHostname_v1")(g, name) == 0
            """
        )
        node.model.perform(faults.inject_fault, "inforom-corrupt", {"gpu": 1})
        _, said = node.smi(fields, "--format=csv,noheader", "-i", "0,1")
    assert said.splitlines() == ["valid, left", "corrupted, [N/A]"]


@pytest.mark.slow
@pytest.mark.parametrize("profile", node_names())
def test_every_node_of_the_catalogue_is_shown_whole(tmp_path: Path, profile: str) -> None:
    with Served(tmp_path / "root", profile) as node:
        count = len([gpu for gpu in node.model.snapshot().gpus if gpu.nvml_visible])
        fields = re.findall(r'"([^"]+)"', node.smi("--help-query-gpu")[1])
        code, said = node.smi(f"--query-gpu={','.join(fields)}", "--format=csv")
        assert (code, len(said.splitlines())) == (0, count + 1)
        for line in said.splitlines():
            assert len(line.split(", ")) == len(fields)
        code, table = node.smi()
        assert (code, {len(line) for line in lines(table)}) == (0, {WIDTH})
        assert len(re.findall(r"^\| +\d+  NVIDIA|^\| +\d+  Tesla", table, re.MULTILINE)) == count
        for arguments in (("-q",), ("-q", "-x"), ("-L",), ("topo", "-m"), ("nvlink", "-s")):
            code, said = node.smi(*arguments)
            assert code == 0, said
            assert "Unknown Error" not in said
            assert "(null)" not in said
