"""Racks: what is planned, and small ones of live trays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from claimwright.emulator import running
from claimwright.emulator.commands import node as node_group
from claimwright.emulator.errors import BootFailed, NodeExists, NodeNotFound, ProfileError
from claimwright.emulator.model import build_node, load_node_profile
from claimwright.emulator.rack import BOARDS, Rack, down, list_racks, load, plan, up
from claimwright.emulator.rack.domain import wait_for_domain
from claimwright.emulator.rack.inspect import describe
from claimwright.emulator.rack.plan import tray_profile


@pytest.fixture(autouse=True)
def racks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep this test's racks apart; stop what it leaves."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield
    for rack in list_racks():
        down(rack.name)
    for name in running.known_names():
        running.down(name)


@pytest.mark.capability("002-25")
@pytest.mark.parametrize("board", sorted(BOARDS))
def test_the_trays_of_a_rack_are_one_clique_of_distinct_machines(board: str) -> None:
    rack = plan(board, name="r", trays=18)
    profile = load_node_profile(BOARDS[board])

    states = [build_node(tray_profile(profile, rack, seat), seat.node) for seat in rack.trays]

    gpus = [gpu for state in states for gpu in state.gpus]
    assert len({gpu.uuid for gpu in gpus}) == 72
    assert len({gpu.serial for gpu in gpus}) >= 36  # the two GPUs of a module share one
    assert {gpu.fabric.clique for gpu in gpus if gpu.fabric} == {rack.clique}
    assert {state.tray.chassis_serial for state in states if state.tray} == {rack.chassis_serial}
    assert [state.tray.index for state in states if state.tray] == list(range(18))
    assert len({state.tray.slot for state in states if state.tray}) == 18
    assert len(set(rack.addresses)) == 18


def test_two_racks_share_neither_clique_nor_addresses() -> None:
    one, other = plan("gb200-nvl72", name="a", trays=18), plan("gb200-nvl72", name="b", trays=18)
    assert one.cluster_uuid != other.cluster_uuid
    assert not set(one.addresses) & set(other.addresses)
    assert plan("gb200-nvl72", name="a", trays=18) == one
    assert Rack.from_json(json.loads(json.dumps(one.as_json()))) == one


@pytest.mark.parametrize(
    ("board", "name", "trays"),
    [("gb200", "r", 18), ("gb200-nvl72", "No", 18), ("gb200-nvl72", "r", 0), ("gb200-nvl72", "r", 65)],
)
def test_an_impossible_rack_is_refused(board: str, name: str, trays: int) -> None:
    with pytest.raises(ProfileError):
        plan(board, name=name, trays=trays)


@pytest.mark.slow
def test_a_small_rack_boots_is_shown_and_leaves_nothing() -> None:
    rack = up("gb200-nvl72", name="small", trays=2)

    shown = CliRunner().invoke(node_group, ["rack", "inspect", "--json"])
    drawn = CliRunner().invoke(node_group, ["rack", "inspect", "small"])
    with pytest.raises(NodeExists, match="rack down small"):
        up("gb200-nvl72", name="small", trays=2)

    described = json.loads(shown.stdout)
    assert described["members"] == [seat.node for seat in rack.trays]
    assert described["imex_domain"] == "UP"
    assert described["imex_links"] == [["CONNECTED"] * 2] * 2
    assert "IMEX domain UP" in drawn.stdout
    pids = [node.pid for node in running.list_nodes()]
    down("small")
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert running.known_names() == []
    with pytest.raises(NodeNotFound, match="known: none"):
        load("small")


@pytest.mark.slow
def test_a_rack_that_cannot_boot_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    boot = running.up

    def fails_later(*arguments: object, name: str, **others: object) -> object:
        if name.endswith("02"):
            raise BootFailed("no more")
        return boot(*arguments, name=name, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(running, "up", fails_later)
    with pytest.raises(BootFailed, match="no more"):
        up("gb200-nvl72", name="half", trays=4)
    assert running.known_names() == []
    assert list_racks() == []


@pytest.mark.slow
def test_a_tray_whose_node_was_killed_is_shown_and_cleared() -> None:
    rack = up("gb200-nvl72", name="torn", trays=2)
    os.kill(running.load(rack.trays[1].node).pid, signal.SIGKILL)

    wait_for_domain(rack, "DEGRADED")  # its daemon went with the driver

    described = describe(rack)
    assert [tray["up"] for tray in described["trays"]] == [True, False]
    assert described["members"] == [rack.trays[0].node]
    assert described["imex_links"][0] == ["CONNECTED", "RECOVERING"]


@pytest.mark.slow
def test_a_tray_of_another_clique_is_refused_until_it_comes_back() -> None:
    rack = up("gb200-nvl72", name="moved", trays=3)
    stray = running.load(rack.trays[2].node)

    stray.call("join_fabric", cluster_uuid=rack.cluster_uuid, clique_id=1)

    wait_for_domain(rack, "DEGRADED")
    described = describe(rack)
    assert described["members"] == [seat.node for seat in rack.trays[:2]]
    stray.call("join_fabric", cluster_uuid=rack.cluster_uuid, clique_id=rack.clique_id)
    wait_for_domain(rack, "UP")


@pytest.mark.e2e
def test_daemon_and_control_tool_run_in_a_chroot_of_the_driver_root() -> None:
    rack = up("gb200-nvl72", name="caged", trays=2)
    node = running.load(rack.trays[0].node)
    root = str(node.driver_root)

    def caged(*command: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["chroot", root, *command],
            capture_output=True,
            timeout=30,
            check=False,
            env={"PATH": "/usr/bin:/usr/sbin:/bin"},
        )

    asked = caged("nvidia-imex-ctl", "-q", "--u=/etc/nvidia-imex/imex_ctrl.sock")
    assert (asked.stdout, asked.stderr, asked.returncode) == (b"READY\n", b"", 0)
    assert caged("nvidia-imex-ctl", "-c", "/etc/nvidia-imex/config.cfg", "-q").stdout == b"READY\n"

    node.call("stop_imex")
    wait_for_domain(rack, "DEGRADED")
    started = subprocess.Popen(["chroot", root, "/usr/bin/nvidia-imex"], stdin=subprocess.DEVNULL)
    try:
        wait_for_domain(rack, "UP")
    finally:
        started.terminate()
        started.wait(timeout=10)


@pytest.mark.slow
def test_a_daemon_without_the_capability_or_the_driver_says_so_and_ends() -> None:
    rack = up("gb200-nvl72", name="bare", trays=1, imex=False, files="plain")
    node = running.load(rack.trays[0].node)
    node.call("configure_imex", nodes=list(rack.addresses), address=rack.trays[0].address)
    configuration = node.driver_root / "etc/nvidia-imex/config.cfg"
    deadline = time.monotonic() + 10
    while not configuration.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    [capability] = [
        path for path in (node.driver_root / "dev/nvidia-caps").iterdir() if path.name == "nvidia-cap4323"
    ]

    def log_of_a_start() -> str:
        command = [str(node.driver_root / "usr/bin/nvidia-imex"), "-c", str(configuration)]
        ended = subprocess.run(command, capture_output=True, timeout=20, check=False)
        assert ended.returncode == 1
        return (node.driver_root / "var/log/nvidia-imex.log").read_text()

    capability.unlink()
    assert "cannot open the IMEX capability" in log_of_a_start()
    os.kill(node.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(node.pid)] if psutil.pid_exists(node.pid) else [], timeout=5)
    assert "no NVIDIA driver answers" in log_of_a_start()
