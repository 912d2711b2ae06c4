"""nvidia-cuda-mps-control and its servers, run as programs: commands, limits, users, and deaths."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claimwright.emulator.nvml import compose

VISIBLE = "GPU-aaaa,GPU-bbbb"


class Mps:
    """One daemon's folders and the programs of a driver root."""

    def __init__(self, folder: Path) -> None:
        self.program = compose(folder / "root", "580.126.20").path / "usr/bin/nvidia-cuda-mps-control"
        self.pipe, self.log = folder / "pipe", folder / "log"
        self.pipe.mkdir()
        self.log.mkdir()
        self.environment = {
            "CUDA_MPS_PIPE_DIRECTORY": str(self.pipe),
            "CUDA_MPS_LOG_DIRECTORY": str(self.log),
            "CUDA_VISIBLE_DEVICES": VISIBLE,
        }

    def run(self, *arguments: str, text: str = "") -> tuple[int, str]:
        done = subprocess.run(
            [self.program, *arguments],
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def start(self, *more: str) -> int:
        assert self.run("-d", *more) == (0, "")
        wait_until(lambda: self.run(text="get_server_list\n")[0] == 0)
        return int((self.pipe / "nvidia-cuda-mps-control.pid").read_text())

    def ask(self, *commands: str) -> list[str]:
        status, said = self.run(text="".join(f"{each}\n" for each in commands))
        assert status == 0, said
        return said.splitlines()

    def client(self) -> socket.socket:
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(20)
        stream.connect(str(self.pipe / "control"))
        stream.sendall(b"@client\n")
        return stream

    def stop(self) -> None:
        try:
            pid = int((self.pipe / "nvidia-cuda-mps-control.pid").read_text())
        except OSError:
            return
        os.kill(pid, signal.SIGKILL)


def wait_until(fact: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def gone(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture
def mps(tmp_path: Path) -> Iterator[Mps]:
    found = Mps(tmp_path)
    yield found
    found.stop()


def test_a_daemon_makes_the_files_that_clients_look_for(mps: Mps) -> None:
    mps.start()

    assert {path.name for path in mps.pipe.iterdir()} == {
        "control",
        "control_lock",
        "control_privileged",
        "log",
        "nvidia-cuda-mps-control.pid",
    }
    assert "Starting control daemon using socket" in (mps.log / "control.log").read_text()


def test_one_folder_has_one_daemon(mps: Mps) -> None:
    mps.start()

    assert mps.run("-d") == (1, "An instance of this daemon is already running\n")


def test_without_a_daemon_commands_fail(mps: Mps) -> None:
    assert mps.run(text="get_server_list\n") == (1, "Cannot find MPS control daemon process\n")


def test_limits_are_remembered_by_index_and_by_uuid(mps: Mps) -> None:
    mps.start()

    said = mps.ask(
        "get_default_active_thread_percentage",
        "set_default_active_thread_percentage 50",
        "get_default_active_thread_percentage",
        "set_default_device_pinned_mem_limit GPU-bbbb 2048M",
        "set_default_device_pinned_mem_limit 0 1G",
        "get_default_device_pinned_mem_limit 1",
        "get_default_device_pinned_mem_limit GPU-aaaa",
    )

    assert said == ["100.0", "50.0", "50.0", "2048M", "1024M"]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("set_default_active_thread_percentage 101", "Invalid active thread percentage: 101"),
        ("set_default_active_thread_percentage", "Invalid active thread percentage: "),
        ("set_default_active_thread_percentage nan", "Invalid active thread percentage: nan"),
        ("set_default_device_pinned_mem_limit 2 1G", "Invalid device: 2"),
        ("set_default_device_pinned_mem_limit GPU-c 1G", "Invalid device: GPU-c"),
        ("set_default_device_pinned_mem_limit 0 -1", "Invalid memory limit: -1"),
        ("set_default_device_pinned_mem_limit 0 1X", "Invalid memory limit: 1X"),
        ("get_client_list 1", "Server 1 not found"),
        ("make me a sandwich", "Unrecognized command"),
        ("x" * 900, "Unrecognized command"),
    ],
)
def test_rubbish_is_answered_and_changes_nothing(mps: Mps, command: str, says: str) -> None:
    mps.start()

    assert mps.ask(command) == [says]
    assert mps.ask("get_default_active_thread_percentage", "get_default_device_pinned_mem_limit 0") == [
        "100.0",
        "No limit set",
    ]


def test_the_first_client_starts_a_server_with_the_limits_of_then(mps: Mps) -> None:
    mps.start()
    mps.ask("set_default_active_thread_percentage 25")

    with mps.client() as client:
        answer = client.recv(100).decode().split()
        (server,) = mps.ask("get_server_list")
        clients = mps.ask(f"get_client_list {server}")
        mps.ask("set_default_active_thread_percentage 75")
        kept = mps.ask(f"get_active_thread_percentage {server}")

    assert answer == ["server", server, "percentage", "25.0"]
    assert clients == [str(os.getpid())]
    assert kept == ["25.0"], "a server keeps what it was started with"
    wait_until(lambda: mps.ask(f"get_client_list {server}") == [])


def test_clients_die_with_their_server_and_the_next_one_gets_another(mps: Mps) -> None:
    mps.start()
    with mps.client() as client:
        client.recv(100)
        (server,) = mps.ask("get_server_list")
        os.kill(int(server), signal.SIGKILL)
        assert client.recv(100) == b""
    with mps.client() as client:
        client.recv(100)
        (after,) = mps.ask("get_server_list")

    assert after != server


def test_quit_ends_servers_and_leaves_no_socket(mps: Mps) -> None:
    daemon = mps.start("-M")
    with mps.client() as client:
        client.recv(100)
        (server,) = mps.ask("get_server_list")

        mps.ask("quit")

        wait_until(lambda: gone(daemon) and gone(int(server)))
    assert not (mps.pipe / "control").exists()
    assert mps.run(text="get_server_list\n")[0] == 1


def test_a_killed_daemon_takes_its_servers_along_and_its_folder_is_used_again(mps: Mps) -> None:
    daemon = mps.start()
    with mps.client() as client:
        client.recv(100)
        (server,) = mps.ask("get_server_list")
    os.kill(daemon, signal.SIGKILL)
    wait_until(lambda: gone(daemon) and gone(int(server)))

    again = mps.start()

    assert again != daemon
    assert mps.ask("get_server_list") == []


def test_a_server_ends_for_another_user_once_its_clients_are_gone(mps: Mps) -> None:
    mps.start()
    other = f"start_server -uid {os.geteuid() + 1}"
    with mps.client() as client:
        client.recv(100)
        (server,) = mps.ask("get_server_list")
        mps.ask(other)
        meanwhile = mps.ask("get_server_list")
    wait_until(lambda: mps.ask(f"get_client_list {server}") == [])

    mps.ask(other)

    wait_until(lambda: gone(int(server)))
    assert meanwhile == [server]


def test_a_server_for_many_users_stays(mps: Mps) -> None:
    mps.start("-M")
    with mps.client() as client:
        client.recv(100)
        (server,) = mps.ask("get_server_list")
    wait_until(lambda: mps.ask(f"get_client_list {server}") == [])

    mps.ask(f"start_server -uid {os.geteuid() + 1}")

    assert mps.ask("get_server_list") == [server]
