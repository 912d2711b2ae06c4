"""Nodes as processes: up, two at once, killed at any moment, and nothing left after down."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from claimwright.emulator import running
from claimwright.emulator.errors import (
    BootFailed,
    NodeError,
    NodeExists,
    NodeNotFound,
    OperationRefused,
    Refusal,
)
from claimwright.emulator.model import NodeProfile, load_node_profile
from claimwright.emulator.node_folder import NodeFolder, holder
from claimwright.emulator.nvml.socket_paths import short_path

pytestmark = pytest.mark.slow  # each boots a process


@pytest.fixture(autouse=True)
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep this test's nodes apart; stop what it leaves."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "state/claimwright/nodes"
    yield folder
    for name in running.known_names():
        running.down(name)


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.002)


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_node_answers_once_it_is_up_and_leaves_nothing_after_down(nodes: Path) -> None:
    node = running.up("l4x4", name="one")

    described = node.call("snapshot")
    shown = (node.host_root / "proc/driver/nvidia/gpus/0000:41:00.0/information").read_text()
    running.down("one")

    assert [gpu["product_name"] for gpu in described["gpus"]] == ["NVIDIA L4"] * 4
    assert described["gpus"][0]["uuid"] in shown
    assert is_gone(node.pid)
    assert list(nodes.iterdir()) == []


def test_the_driver_root_has_library_tool_socket_and_device_files() -> None:
    node = running.up("l4", name="one")

    root = node.driver_root
    assert (root / "usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1").exists()
    assert (root / "usr/bin/nvidia-smi").exists()
    assert (root / "run/nvidia-persistenced/socket").is_socket()
    assert {"nvidia0", "nvidiactl"} <= {path.name for path in (root / "dev").iterdir()}
    assert node.environment["PATH"].startswith(f"{root}/usr/bin:")
    assert node.environment["HOST_ROOT"] == str(node.host_root)


def test_a_second_node_of_the_same_name_is_refused_and_the_first_lives_on() -> None:
    first = running.up("l4", name="one")

    with pytest.raises(NodeExists, match="node down one"):
        running.up("l4x4", name="one")

    assert running.load("one") == first
    assert len(first.call("snapshot")["gpus"]) == 1


def test_two_nodes_run_side_by_side_with_hardware_of_their_own() -> None:
    one, two = running.up("l4", name="one"), running.up("l4", name="two")

    one.call("lose", gpu=0)

    assert [node.name for node in running.list_nodes()] == ["one", "two"]
    assert one.call("snapshot")["gpus"][0]["lost"] is True
    assert two.call("snapshot")["gpus"][0]["lost"] is False
    assert one.call("snapshot")["gpus"][0]["uuid"] != two.call("snapshot")["gpus"][0]["uuid"]


def test_a_node_boots_again_with_the_same_hardware_and_another_boot_id() -> None:
    first = running.up("l4", name="one").call("snapshot")
    running.down("one")

    second = running.up("l4", name="one").call("snapshot")

    assert first["gpus"][0]["uuid"] == second["gpus"][0]["uuid"]
    assert first["boot_id"] != second["boot_id"]


def test_a_killed_node_is_not_listed_and_down_clears_it(nodes: Path) -> None:
    node = running.up("l4", name="one")
    os.kill(node.pid, signal.SIGKILL)
    wait_until(lambda: holder(NodeFolder(node.folder)) is None)

    listed = running.list_nodes()
    with pytest.raises(NodeNotFound, match="not up"):
        running.load("one")
    running.down("one")

    assert listed == []
    assert list(nodes.iterdir()) == []


def test_a_killed_nodes_name_can_be_booted_at_once() -> None:
    first = running.up("l4", name="one")
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: holder(NodeFolder(first.folder)) is None)

    assert running.up("l4x4", name="one").call("snapshot")["profile"] == "l4x4"


@pytest.mark.parametrize(
    "moment", ["one.lock", "one/request", "one/node.log", "one/driver-root", "one/node.json"]
)
def test_up_killed_at_any_moment_leaves_nothing_that_down_does_not_clear(nodes: Path, moment: str) -> None:
    script = "from claimwright.emulator.running import up; up('l4', name='one')"
    starting = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    wait_until((nodes / moment).exists)
    starting.kill()
    starting.wait(timeout=10)

    running.down("one")

    assert list(nodes.iterdir()) == []
    assert not [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(nodes / "one") in (process.info["cmdline"] or []) and not is_gone(process.pid)
    ]


def test_a_profile_that_cannot_be_built_fails_the_boot_with_the_reason(nodes: Path) -> None:
    text = load_node_profile("l4").model_dump_json()
    profile = NodeProfile.model_validate_json(text.replace('41:00.0 l4"', '41:00.0 l40"'))
    assert profile != load_node_profile("l4")

    with pytest.raises(BootFailed, match="there is no board 'l40'; did you mean 'l40s'"):
        running.up(profile, name="one")
    assert list(nodes.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "said"),
    [("echo no interpreter here >&2; exit 3", "status 3"), ("exec sleep 60", "not ready")],
    ids=["dies", "hangs"],
)
def test_a_node_process_that_never_gets_ready_is_ended_and_quoted(
    nodes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text(f"#!/bin/sh\n{script}\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    monkeypatch.setattr(running, "_BOOT_SECONDS", 1.0)

    with pytest.raises(BootFailed, match=said):
        running.up("l4", name="one")

    assert list(nodes.iterdir()) == []


def test_down_of_an_unknown_node_names_the_known_ones() -> None:
    running.up("l4", name="one")

    with pytest.raises(NodeNotFound, match="no node 'two'; known: one"):
        running.down("two")


def test_down_twice_is_an_error_that_changes_nothing() -> None:
    running.up("l4", name="one")
    running.down("one")

    with pytest.raises(NodeNotFound, match="known: none"):
        running.down("one")


@pytest.mark.parametrize("name", ["../x", "a/b", "", "UP", ".", "x" * 64])
def test_a_name_never_becomes_a_path_unchecked(nodes: Path, name: str) -> None:
    for act in (running.down, running.load, lambda each: running.up("l4", name=each)):
        with pytest.raises(NodeError, match="no node name"):
            act(name)
    assert not nodes.exists()


def test_a_lock_file_of_rubbish_with_no_holder_is_no_node(nodes: Path) -> None:
    nodes.mkdir(parents=True)
    (nodes / "one.lock").write_text("not a pid\n" * 9)

    assert running.list_nodes() == []
    assert running.up("l4", name="one").call("snapshot")["name"] == "one"


def test_refusals_cross_the_control_socket_with_their_reason() -> None:
    node = running.up("l4", name="one")

    for operation, arguments, reason in (
        ("lose", {"gpu": 4}, Refusal.NOT_FOUND),
        ("lose", {}, Refusal.INVALID_ARGUMENT),
        ("explode", {}, Refusal.INVALID_ARGUMENT),
        ("start_process", {"gpu": 0, "pid": 1, "name": "x", "memory_bytes": 1 << 50}, Refusal.MEMORY),
        ("set_utilization", {"gpu": 0, "utilization": {"gpu": 101}}, Refusal.INVALID_ARGUMENT),
    ):
        with pytest.raises(OperationRefused) as refused:
            node.call(operation, **arguments)
        assert refused.value.reason is reason
    assert node.call("set_utilization", gpu=0, utilization={"gpu": 50})["utilization_percent"] == 50


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b"[]\n", b"null\n", b'{"operation": 3}\n', b"\xff\xfe\n"])
def test_rubbish_on_the_control_socket_is_answered_and_harms_nobody(line: bytes) -> None:
    node = running.up("l4", name="one")

    with socket.socket(socket.AF_UNIX) as connection, short_path(node.folder / "control.sock") as path:
        connection.settimeout(10)
        connection.connect(path)
        connection.sendall(line)
        answer = json.loads(connection.makefile("rb").readline())

    assert answer["refused"] == "INVALID_ARGUMENT"
    assert node.call("snapshot")["name"] == "one"


def test_a_node_that_is_gone_does_not_keep_its_caller_waiting() -> None:
    node = running.up("l4", name="one")
    running.down("one")

    with pytest.raises(NodeError, match="does not answer"):
        node.call("snapshot")


@pytest.mark.parametrize("arguments", [(), ("-L",), ("-q", "-x"), ("-pm", "1"), ("mig", "-lgip")], ids=str)
def test_nvidia_smi_of_a_killed_node_says_at_once_that_no_driver_answers(arguments: tuple[str, ...]) -> None:
    node = running.up("l4", name="one")
    os.kill(node.pid, signal.SIGKILL)
    wait_until(lambda: is_gone(node.pid))

    begin = time.monotonic()
    said = subprocess.run(
        [node.driver_root / "usr/bin/nvidia-smi", *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert (said.returncode, "couldn't communicate with the NVIDIA driver" in said.stdout) == (9, True)
    assert time.monotonic() - begin < 5
