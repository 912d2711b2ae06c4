"""What an operator sees on a node: status, the last errors, and how long steps take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from claimwright.dra.claims import ClaimReference, ClaimUid
from claimwright.driver.entries import Entry, HeldDevice, State
from claimwright.driver.journal import Journal
from claimwright.driver.metrics import Metrics
from claimwright.driver.recent_errors import LIMIT, NAME, RecentErrors, read
from claimwright.driver.testing import HandClock, StubNode, build_stub_node
from claimwright.driver.text_table import table

PROGRAM = Path(sys.executable).with_name("claimwright")


def test_the_same_error_is_counted_and_old_ones_make_room(tmp_path: Path) -> None:
    clock = HandClock(100.0)
    errors = RecentErrors(tmp_path / NAME, clock)
    for number in range(LIMIT + 5):
        errors.add("prepare", f"default/c{number}", ValueError("x" * 5000))
    errors.add("prepare", f"default/c{LIMIT}", ValueError("x" * 5000))

    found = read(tmp_path / NAME)
    assert len(found) == LIMIT
    assert (found[-1].subject, found[-1].count) == (f"default/c{LIMIT}", 2)
    assert (tmp_path / NAME).stat().st_size < LIMIT * 1500


def test_errors_outlive_a_restart(tmp_path: Path) -> None:
    RecentErrors(tmp_path / NAME, HandClock(1.0)).add("prepare", "default/a", ValueError("no"))
    RecentErrors(tmp_path / NAME, HandClock(9.0)).add("prepare", "default/a", ValueError("no"))

    (found,) = read(tmp_path / NAME)
    assert (found.first, found.last, found.count, found.text) == (1.0, 9.0, 2, "no")


@pytest.mark.parametrize("content", [b"", b"[", b"7", b"[7]", b'[{"operation": "x"}]', b"\xff"])
def test_a_file_of_rubbish_is_no_error_and_is_written_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)

    assert read(tmp_path / NAME) == ()
    RecentErrors(tmp_path / NAME, HandClock(1.0)).add("prepare", "default/a", ValueError("no"))
    assert len(read(tmp_path / NAME)) == 1


def test_a_folder_that_cannot_be_written_costs_the_file_only(tmp_path: Path) -> None:
    RecentErrors(tmp_path / "missing" / NAME, HandClock(1.0)).add("prepare", "default/a", ValueError("no"))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.capability("002-03")
def test_steps_are_timed_by_tool_and_verb() -> None:
    metrics = Metrics("gpu.nvidia.com", "node-a")
    for tool, verb, seconds in (
        ("claim-spec", "do", 0.001),
        ("claim-spec", "do", 0.1),
        ("mig-mode", "undo", 3.0),
    ):
        metrics.step(tool, verb, seconds)

    family = next(
        each
        for each in text_string_to_metric_families(metrics.exposition().decode())
        if each.name == "nvidia_dra_step_duration_seconds"
    )
    found = {
        (sample.labels["tool"], sample.labels["verb"]): sample.value
        for sample in family.samples
        if sample.name.endswith("_count")
    }
    assert found == {("claim-spec", "do"): 2, ("mig-mode", "undo"): 1}
    assert all(sample.labels["driver"] == "gpu.nvidia.com" for sample in family.samples)


def test_tables_are_aligned_and_cannot_move_the_cursor() -> None:
    assert table(["A", "LONG"], [["x\ny\x1b[2J", "1"], ["z", ""]]) == "A           LONG\nx y\\x1b[2J  1\nz\n"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> StubNode:
    return build_stub_node(tmp_path_factory.mktemp("node"))


async def journal_of(node: StubNode) -> Path:
    path = node.plugins_dir / "gpu.nvidia.com" / "claims.journal"
    held = HeldDevice("r0", "node-a", "gpu-1", "0000:75:00.0", ("k8s.gpu.nvidia.com/claim=u-gpu-1",))
    entry = Entry(ClaimReference("default", "a", ClaimUid("u")), (held,), (), State.PREPARED)
    Journal.create(path, driver="gpu.nvidia.com", boot_id="b", entries=[entry]).close()
    return path


def status(node: StubNode, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, "driver", "status", *arguments],
        env={**os.environ, **node.environment, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
async def test_status_shows_who_holds_what_where_no_driver_runs(node: StubNode) -> None:
    path = await journal_of(node)
    before = path.read_bytes()
    done, asked = status(node), status(node, "--json")
    found = json.loads(asked.stdout)

    assert done.returncode == asked.returncode == 1  # nothing serves
    assert "driver: not serving" in done.stdout
    assert "default/a  prepared  r0" in done.stdout
    assert [gpu["name"] for gpu in found["gpus"] if gpu["holdings"]] in (["gpu-1"], [""])
    assert found["holdings"][0]["claim"] == "default/a"
    assert path.read_bytes() == before


@pytest.mark.slow
async def test_status_shows_the_rest_when_journal_and_nvml_are_broken(node: StubNode) -> None:
    path = await journal_of(node)
    path.write_bytes(b"rubbish\nmore rubbish\n" + path.read_bytes())
    try:
        done = status(node, NVIDIA_DRIVER_ROOT=str(node.cdi_root))
    finally:
        path.unlink()

    assert done.returncode == 1
    assert "claims.journal line 1 fails its checksum" in done.stdout
    assert "libnvidia-ml.so.1 not found" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--feature-gates", "Nope=true"), "unknown feature gate 'Nope'"),
        (("--nvidia-driver-root", "relative"), "expected an absolute path"),
        (("--nope",), "No such option"),
    ],
)
def test_wrong_flags_are_named(node: StubNode, arguments: tuple[str, ...], says: str) -> None:
    done = status(node, *arguments)

    assert done.returncode == 2
    assert says in done.stderr
