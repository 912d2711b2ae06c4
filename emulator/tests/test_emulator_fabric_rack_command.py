"""`claimwright node rack` killed at any moment, called twice, by two at once, and with what cannot be."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from claimwright.emulator import running
from claimwright.emulator.rack import list_racks, load
from claimwright.emulator.rack.inspect import describe
from claimwright.emulator.rack.running import racks_folder

pytestmark = pytest.mark.slow
_RACK = (sys.executable, "-m", "claimwright.cli.main", "node", "rack")
_SECONDS = 60


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep this test's racks apart; stop what it leaves."""
    folder = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    yield folder
    for made in list_racks():
        rack("down", made.name)
    for name in running.known_names():
        running.down(name)


def rack(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*_RACK, *words], capture_output=True, text=True, timeout=_SECONDS, check=False)


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*_RACK, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def left(state: Path) -> list[str]:
    """Return every process, mount and file that still has to do with this test's state folder."""
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(state) in line]
    files = [str(path) for path in state.rglob("*") if not path.is_dir()]
    return [*_processes(state), *mounts, *files]


def _processes(state: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any(str(state) in word for word in process.cmdline()):
                found.append(f"{process.pid} {process.name()} {process.status()}")
    return found


def kill_at(command: subprocess.Popen[str], moment: str, state: Path) -> None:
    """Kill the command once its record is there, or once it printed a line with these words."""
    deadline = time.monotonic() + _SECONDS
    with command:
        assert command.stderr is not None
        if moment == "record":
            while not any(racks_folder().glob("*.json")) and time.monotonic() < deadline:
                time.sleep(0.001)
        else:
            assert any(moment in line for line in command.stderr)
        command.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("moment", ["record", "tray 2 of 3", "find each other"])
def test_down_leaves_nothing_of_a_rack_whose_up_was_killed(state: Path, moment: str) -> None:
    kill_at(start("up", "--trays", "3", "--name", "torn"), moment, state)

    assert left(state)
    again = rack("up", "--trays", "3", "--name", "torn")
    ended = rack("down", "torn")

    assert (again.returncode, ended.returncode) == (2, 0), again.stderr + ended.stderr
    assert "`claimwright node rack down torn` removes it" in again.stderr
    assert left(state) == []


def test_a_killed_tray_is_named_repaired_and_leaves_nothing(state: Path) -> None:
    assert rack("up", "--trays", "3").returncode == 0
    made = load("rack")
    victim = running.load(made.trays[1].node)
    [daemon] = [each for each in psutil.Process(victim.pid).children() if each.name() == "nvidia-imex"]
    os.kill(victim.pid, signal.SIGKILL)
    daemon.wait(timeout=10)  # without a driver there is no daemon

    broken = rack("status")
    mended = rack("repair")
    whole = rack("status", "rack")

    assert broken.returncode == 1
    assert broken.stdout.splitlines() == [
        "rack rack is NOT WHOLE: 2 of 3 trays up, 2 in the clique, IMEX domain DEGRADED",
        f"  rack-tray-01 ({made.trays[1].address}): not up, nvidia-imex UNAVAILABLE",
    ]
    assert mended.stdout == "rack rack is whole: 3 trays\n"
    assert (whole.returncode, whole.stdout) == (
        0,
        "rack rack is whole: 3 of 3 trays up, 3 in the clique, IMEX domain UP\n",
    )
    os.kill(running.load(made.trays[2].node).pid, signal.SIGKILL)
    assert rack("down").returncode == 0
    assert left(state) == []


def test_repair_starts_a_daemon_and_touches_no_tray_that_is_well(state: Path) -> None:
    assert rack("up", "--trays", "2", "--files", "plain").returncode == 0
    before = [running.load(seat.node).pid for seat in load("rack").trays]
    running.load("rack-tray-00").call("stop_imex")
    assert "nvidia-imex UNAVAILABLE" in rack("status").stdout

    assert rack("repair").returncode == 0

    assert describe(load("rack"))["whole"]
    assert [running.load(seat.node).pid for seat in load("rack").trays] == before


def test_of_two_that_boot_one_rack_one_wins_and_the_other_is_told(state: Path) -> None:
    both = [start("up", "--trays", "2", "--name", "one") for _ in range(2)]
    said = [command.communicate(timeout=_SECONDS) for command in both]
    codes = [command.returncode for command in both]

    assert sorted(codes) == [0, 2], said
    assert "rack 'one'" in said[codes.index(2)][1]
    assert [node.name for node in running.list_nodes()] == ["one-tray-00", "one-tray-01"]
    assert describe(load("one"))["whole"]


def test_two_racks_side_by_side_are_two_domains(state: Path) -> None:
    both = [start("up", "--trays", "2", "--files", "plain", "--name", name) for name in ("left", "right")]
    said = [command.communicate(timeout=_SECONDS) for command in both]
    assert [command.returncode for command in both] == [0, 0], said

    cliques = [describe(load(name)) for name in ("left", "right")]

    assert all(each["whole"] for each in cliques)
    assert cliques[0]["clique"] != cliques[1]["clique"]
    unnamed = rack("down")
    assert unnamed.returncode != 0
    assert "left, right" in unnamed.stderr
    assert [rack("down", name).returncode for name in ("left", "right", "left")] == [0, 0, 2]
    assert left(state) == []


def test_a_node_of_someone_else_is_no_tray_and_survives(state: Path) -> None:
    mine = running.up("l4", name="mix-tray-01", files="plain")

    refused = rack("up", "--trays", "2", "--name", "mix")

    assert refused.returncode == 2
    assert "another of that name: `claimwright node down mix-tray-01`" in refused.stderr
    assert [node.pid for node in running.list_nodes()] == [mine.pid]
    assert list_racks() == []


def test_a_rack_without_imex_is_whole_without_a_domain(state: Path) -> None:
    assert rack("up", "--trays", "1", "--no-imex", "--files", "plain").returncode == 0
    said = rack("status")
    assert said.stdout == "rack rack is whole: 1 of 1 trays up, 1 in the clique, no IMEX\n"
    assert said.returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("up", "--trays", "0"), "0 is not in the range 1<=x<=64"),
        (("up", "--trays", "65"), "65 is not in the range 1<=x<=64"),
        (("up", "--trays", "many"), "'many' is not a valid integer"),
        (("up", "--board", "hgx-h100"), "'hgx-h100' is not one of 'gb200-nvl72', 'gb300-nvl72'"),
        (("up", "--name", "Rack One"), "'Rack One' is no rack name; expected 1 to 52 of a-z, 0-9 and '-'"),
        (("down", "nobody"), "there is no rack 'nobody' (known: none)"),
        (("status",), "`claimwright node rack up` boots one"),
        (("repair", "nobody"), "there is no rack 'nobody'"),
    ],
)
def test_what_cannot_be_is_named_with_status_two(state: Path, words: tuple[str, ...], said: str) -> None:
    refused = rack(*words)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert left(state) == []


def test_a_record_that_is_none_is_named_with_what_to_do(state: Path) -> None:
    racks_folder().mkdir(parents=True)
    record = racks_folder() / "bad.json"
    for text in ("", "[]", '{"name": "bad"}', '{"trays": [{"seat": 1}]}'):
        record.write_text(text)
        refused = rack("status", "bad")
        assert refused.returncode == 2
        assert f"{record} is no record of a rack; remove it" in refused.stderr
    record.unlink()
