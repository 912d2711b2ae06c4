"""nvidia-imex and nvidia-imex-ctl as processes: quorum, loss and recovery, garbage, and strangers on the wire."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimwright.emulator.nvml import compiling

_SUBNETS = itertools.count(os.getpid() % 200 * 250 + 1)  # workers of one test run do not meet
_MAGIC, _VERSION = 0x58495743, 1
_HELLO, _WELCOME, _REFUSED, _PING, _PONG = 1, 2, 3, 4, 5
_IDENTITY = struct.Struct("<QQII16s32s64s")


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    compiling.compile_all()


def wait_until(
    condition: Callable[[], bool], what: Callable[[], object] = lambda: "", seconds: float = 15
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited too long: {what()}"
        time.sleep(0.01)


@dataclass
class Domain:
    """Daemons on loopback addresses of their own; `order` is the nodes file's."""

    folder: Path
    size: int
    options: dict[str, object] = field(default_factory=dict)
    running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.subnet = next(_SUBNETS)
        self.order = list(range(self.size))
        self.write_nodes()

    def address(self, node: int) -> str:
        return f"127.{self.subnet // 250 % 250 + 2}.{self.subnet % 250}.{node + 1}"

    def write_nodes(self) -> None:
        fresh = self.folder / "nodes.new"
        fresh.write_text("# a comment\n" + "".join(f"{self.address(node)}\n" for node in self.order))
        fresh.replace(self.folder / "nodes.cfg")

    def configuration(self, node: int) -> Path:
        values = {
            "SERVER_PORT": 50000,
            "BIND_INTERFACE_IP": self.address(node),
            "IMEX_CMD_ENABLED": 1,
            "IMEX_CMD_PORT": 50005,
            "IMEX_CMD_BIND_INTERFACE_IP": self.address(node),
            "IMEX_CMD_UNIX_DOMAIN_PATH": self.folder / f"{node}.sock",
            "IMEX_NODE_CONFIG_FILE": self.folder / "nodes.cfg",
            "LOG_FILE_NAME": self.folder / f"{node}.log",
            "DAEMONIZE": 0,
            "EMULATOR_KEEPALIVE_MS": 40,
            "EMULATOR_PEER_TIMEOUT_MS": 400,
            "EMULATOR_RETRY_MS": 100,
            "EMULATOR_SIGNAL_MS": 0,
            "EMULATOR_PERSIST_FILE": self.folder / f"{node}.persist",
            **self.options,
        }
        path = self.folder / f"{node}.cfg"
        path.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
        return path

    def start(self, node: int) -> None:
        command = [str(compiling.IMEX.path), "-c", str(self.configuration(node)), "--nogpu"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.running[node] = process
        wait_until(lambda: self.control(node, "-q").stdout != b"" or process.poll() is not None)

    def signal_all(self) -> None:
        """Have every daemon read the nodes file again."""
        for process in self.running.values():
            process.send_signal(signal.SIGUSR1)

    def stop(self, node: int, kind: signal.Signals = signal.SIGKILL) -> None:
        process = self.running.pop(node)
        process.send_signal(kind)
        process.wait(timeout=10)

    def control(self, node: int, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [str(compiling.IMEX_CTL.path), "-c", str(self.folder / f"{node}.cfg"), *arguments]
        return subprocess.run(command, capture_output=True, timeout=20, check=False)

    def status(self, node: int) -> str:
        return self.control(node, "-q").stdout.decode().strip()

    def table(self, node: int) -> dict[str, Any]:
        said = self.control(node, "-N", "-j")
        assert said.returncode == 0, said.stderr
        parsed: dict[str, Any] = json.loads(said.stdout)
        return parsed

    def link(self, here: int, there: int) -> str:
        """Return what `here` says of its connection to `there`."""
        nodes = self.table(here)["nodes"]
        place = {self.address(node): node for node in range(self.size)}
        own = next(each for each in nodes.values() if place[each["host"]] == here)
        return str(next(c["status"] for c in own["connections"].values() if place[c["host"]] == there))

    def await_domain(self, state: str, nodes: Sequence[int] | None = None) -> None:
        for node in self.running if nodes is None else nodes:
            wait_until(partial(self._is, node, state), partial(self.table, node))

    def _is(self, node: int, state: str) -> bool:
        return bool(self.table(node)["status"] == state)


@pytest.fixture
def domain(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Domain]:
    made = Domain(tmp_path, 3, dict(getattr(request, "param", {})))
    yield made
    for node in list(made.running):
        made.stop(node)


def with_options(**options: object) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("domain", [options], indirect=True, ids=["-".join(options)])


def test_a_domain_is_up_once_all_its_nodes_reach_each_other(domain: Domain) -> None:
    for node in range(3):
        domain.start(node)

    domain.await_domain("UP")

    asked = domain.control(1, "-q")
    assert (asked.stdout + asked.stderr, asked.returncode) == (b"READY\n", 0)
    table = domain.control(1, "-N").stdout.decode()
    assert f"Node #1   * {domain.address(1)}" in table
    assert "Domain State: UP\n" in table


def test_the_unix_socket_answers_as_the_configuration_does(domain: Domain) -> None:
    domain.start(0)
    command = [str(compiling.IMEX_CTL.path), "-q", f"--u={domain.folder / '0.sock'}"]
    asked = subprocess.run(command, capture_output=True, timeout=20, check=False)
    assert (asked.stdout, asked.stderr, asked.returncode) == (b"READY\n", b"", 0)


@with_options(IMEX_WAIT_FOR_QUORUM="FULL")
def test_full_quorum_waits_for_every_node_and_stays_ready_after_a_loss(domain: Domain) -> None:
    domain.start(0)
    domain.start(1)
    wait_until(lambda: domain.link(0, 1) == "CONNECTED")
    asked = domain.control(0, "-q")
    assert (asked.stdout, asked.returncode) == (b"WAITING_FOR_PEERS\n", 1)

    domain.start(2)
    domain.await_domain("UP")
    domain.stop(2)

    domain.await_domain("DEGRADED")
    assert domain.status(0) == domain.status(1) == "READY"


def test_a_killed_peer_is_recovering_and_one_that_said_goodbye_disconnected(domain: Domain) -> None:
    for node in range(3):
        domain.start(node)
    domain.await_domain("UP")
    domain.stop(1, signal.SIGKILL)
    domain.stop(2, signal.SIGTERM)
    domain.await_domain("DEGRADED")
    wait_until(lambda: [domain.link(0, 1), domain.link(0, 2)] == ["RECOVERING", "DISCONNECTED"])

    for node in (1, 2):
        domain.start(node)

    domain.await_domain("UP")


@with_options(IMEX_NODE_DISCONNECTED_GRACE_TIME=0)
def test_without_grace_a_lost_peer_is_cleaned_up_at_once(domain: Domain) -> None:
    for node in range(3):
        domain.start(node)
    domain.await_domain("UP")
    domain.stop(1)
    wait_until(lambda: domain.link(0, 1) == "DISCONNECTED")


def test_a_half_open_peer_is_missed_by_its_silence_and_found_again(domain: Domain) -> None:
    for node in range(3):
        domain.start(node)
    domain.await_domain("UP")
    domain.running[1].send_signal(signal.SIGSTOP)  # its kernel still accepts and acknowledges
    try:
        wait_until(lambda: domain.link(0, 1) == "RECOVERING")
    finally:
        domain.running[1].send_signal(signal.SIGCONT)
    domain.await_domain("UP")


def test_a_change_of_the_nodes_file_waits_for_a_restart(domain: Domain) -> None:
    """As with the real daemon: a driver that forgets to restart it is found out here."""
    domain.order = [0, 1]
    domain.write_nodes()
    for node in (0, 1):
        domain.start(node)
    domain.await_domain("UP")

    domain.order = [2, 1, 0]
    domain.write_nodes()
    domain.start(2)

    wait_until(lambda: {domain.link(2, 0), domain.link(2, 1)} == {"NODE_MAP_MISMATCH"})
    assert [len(domain.table(node)["nodes"]) for node in (0, 1, 2)] == [2, 2, 3]
    assert domain.table(0)["status"] == "UP"
    for node in (0, 1):
        domain.stop(node, signal.SIGTERM)
        domain.start(node)
    domain.await_domain("UP")
    assert len(domain.table(0)["nodes"]) == 3


def test_sigusr1_has_the_nodes_file_read_again_by_the_same_daemon(domain: Domain) -> None:
    domain.order = [0, 1]
    domain.write_nodes()
    for node in (0, 1):
        domain.start(node)
    domain.await_domain("UP")
    pids = [domain.running[node].pid for node in (0, 1)]

    domain.order = [2, 1, 0]
    domain.write_nodes()
    domain.start(2)
    domain.signal_all()

    domain.await_domain("UP")
    assert [domain.running[node].pid for node in (0, 1)] == pids
    assert [domain.running[node].poll() for node in (0, 1)] == [None, None]
    assert len(domain.table(0)["nodes"]) == 3


@with_options(EMULATOR_SIGNAL_MS=600000)
def test_a_second_sigusr1_within_the_documented_time_is_ignored(domain: Domain) -> None:
    domain.start(0)
    log = domain.folder / "0.log"
    domain.running[0].send_signal(signal.SIGUSR1)
    wait_until(lambda: "read again: 3 nodes" in log.read_text())
    domain.order = [1, 0]
    domain.write_nodes()

    domain.running[0].send_signal(signal.SIGUSR1)

    wait_until(lambda: "SIGUSR1 is ignored" in log.read_text())
    assert len(domain.table(0)["nodes"]) == 3


def test_nodes_with_other_lists_do_not_talk_until_the_lists_agree(domain: Domain) -> None:
    (domain.folder / "own.cfg").write_text("".join(f"{domain.address(node)}\n" for node in (1, 0)))
    domain.start(0)
    domain.options["IMEX_NODE_CONFIG_FILE"] = domain.folder / "own.cfg"
    domain.start(1)
    wait_until(lambda: domain.link(0, 1) == "NODE_MAP_MISMATCH")

    (domain.folder / "own.cfg").write_text((domain.folder / "nodes.cfg").read_text())
    domain.running[1].send_signal(signal.SIGUSR1)

    wait_until(lambda: domain.link(0, 1) == "CONNECTED")


@with_options(EMULATOR_CONNECTED_IS_IMPORTING=1)
def test_a_killed_daemon_waits_for_those_that_held_its_memory(domain: Domain) -> None:
    for node in range(3):
        domain.start(node)
    domain.await_domain("UP")
    domain.stop(0)
    domain.stop(1)
    domain.start(0)
    wait_until(lambda: domain.link(0, 2) == "CONNECTED")
    assert domain.status(0) == "WAITING_FOR_RECOVERY"

    domain.start(1)

    wait_until(lambda: domain.status(0) == "READY")


@pytest.mark.parametrize("text", ["", "# nobody\n", "a b\n", "127.0.0.9\n" * 65, "198.51.100.7\n"])
def test_a_nodes_file_that_is_none_keeps_the_daemon_from_starting(domain: Domain, text: str) -> None:
    (domain.folder / "nodes.cfg").write_text(text)
    command = [str(compiling.IMEX.path), "-c", str(domain.configuration(0)), "--nogpu"]
    ended = subprocess.run(command, capture_output=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert "nodes" in (domain.folder / "0.log").read_text()


def test_a_broken_nodes_file_leaves_the_former_list_in_force(domain: Domain) -> None:
    for node in range(3):
        domain.start(node)
    domain.await_domain("UP")
    (domain.folder / "nodes.cfg").write_text("two words\n")
    domain.signal_all()
    wait_until(lambda: "one a line" in (domain.folder / "0.log").read_text())
    assert domain.table(0)["status"] == "UP"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("SERVER_PORT=0", "expected a number from 1 to 65535"),
        ("SERVER_PORT=many", "expected a number"),
        ("IMEX_WAIT_FOR_QUORUM=SOME", "NONE, RECOVERY or FULL"),
        ("IMEX_ENABLE_AUTH_ENCRYPTION=1", "set it to 0"),
        ("BIND_INTERFACE_IP=nowhere", "no IP address"),
    ],
)
def test_an_impossible_setting_is_refused_by_value(domain: Domain, line: str, said: str) -> None:
    key, _, value = line.partition("=")
    domain.options[key] = value
    domain.options["LOG_FILE_NAME"] = ""
    command = [str(compiling.IMEX.path), "-c", str(domain.configuration(0)), "--nogpu"]
    ended = subprocess.run(command, capture_output=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert said.encode() in ended.stderr


def test_unknown_keys_are_tolerated_with_a_warning(domain: Domain) -> None:
    domain.options["SOMETHING_NEW"] = "x"
    domain.start(0)
    assert domain.status(0) == "READY"
    assert domain.control(0, "-q").stderr == b""  # nvidia-imex-ctl prints the answer and nothing else


def test_the_control_tool_fails_where_no_daemon_answers(domain: Domain) -> None:
    domain.configuration(0)
    asked = domain.control(0, "-q")
    assert asked.returncode == 1
    assert asked.stdout == b""
    assert b"Failed to connect" in asked.stderr


def frame(kind: int, body: bytes = b"", *, version: int = _VERSION) -> bytes:
    return struct.pack("<IBBH", _MAGIC, version, kind, len(body)) + body


def greeting(
    domain: Domain, *, index: int = 1, driver: str = "NO_GPU", clique: int = 0, node_map: int | None = None
) -> bytes:
    node_map = node_map_of(domain) if node_map is None else node_map
    return frame(_HELLO, _IDENTITY.pack(7, node_map, index, clique, bytes(16), driver.encode(), b"stranger"))


def node_map_of(domain: Domain) -> int:
    value = 0xCBF29CE484222325
    for node in domain.order:
        for byte in f"{domain.address(node)}\n".encode():
            value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({"driver": "570.1"}, 4),
        ({"node_map": 1}, 5),
        ({"index": 99}, 5),
        ({"index": 0}, 5),
        ({"clique": 3}, 6),
        ({}, None),
    ],
)
def test_strangers_are_refused_with_the_reason(
    domain: Domain, changed: dict[str, Any], verdict: int | None
) -> None:
    domain.start(0)
    with socket.create_connection((domain.address(0), 50000), timeout=5) as stranger:
        stranger.sendall(greeting(domain, **changed))
        magic, _, kind, length = struct.unpack("<IBBH", stranger.recv(8, socket.MSG_WAITALL))
        body = stranger.recv(length, socket.MSG_WAITALL)
    assert magic == _MAGIC
    if verdict is None:
        assert kind == _WELCOME
    else:
        assert (kind, body) == (_REFUSED, struct.pack("<I", verdict))


def test_a_frame_of_another_version_is_refused_as_such(domain: Domain) -> None:
    domain.start(0)
    with socket.create_connection((domain.address(0), 50000), timeout=5) as stranger:
        stranger.sendall(frame(_HELLO, b"what comes later", version=2))
        assert stranger.recv(64, socket.MSG_WAITALL) == frame(_REFUSED, struct.pack("<I", 4))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    noise=st.lists(
        st.one_of(
            st.binary(max_size=700),
            st.builds(frame, st.integers(0, 255), st.binary(max_size=512)),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_garbage_on_both_ports_harms_nobody_else(domain: Domain, noise: list[bytes]) -> None:
    if not domain.running:
        for node in range(3):
            domain.start(node)
        domain.await_domain("UP")
    for port in (50000, 50005):
        with socket.create_connection((domain.address(0), port), timeout=5) as stranger:
            for part in noise:
                try:
                    stranger.sendall(part)
                except ConnectionError:
                    break
    assert domain.running[0].poll() is None
    assert domain.table(0)["status"] == "UP"


def test_silent_and_slow_clients_are_dropped_and_block_nobody(domain: Domain) -> None:
    domain.start(0)
    streams = [
        socket.create_connection((domain.address(0), port), timeout=10) for port in (50000, 50005) * 20
    ]
    try:
        assert domain.status(0) == "READY"
        for stream in streams:
            assert stream.recv(1) == b""  # its deadline passed: the daemon hung up
    finally:
        for stream in streams:
            stream.close()


@dataclass
class Oracle:
    """What each running daemon must say, from who was up together with whom; no sockets, no time."""

    full: bool
    importing: bool
    up: set[int] = field(default_factory=set)
    links: dict[tuple[int, int], str] = field(default_factory=dict)
    awaited: dict[int, set[int]] = field(default_factory=dict)
    saved: dict[int, tuple[tuple[int, ...], set[int]]] = field(default_factory=dict)
    ready: set[int] = field(default_factory=set)

    def start(self, node: int, order: tuple[int, ...]) -> None:
        self.up.add(node)
        self.links |= {(node, other): "NEVER_CONNECTED" for other in order if other != node}
        key, held = self.saved.get(node, ((), set()))
        self.awaited[node] = set(held) if key == order and not self.full else set()
        self.settle(order)

    def end(self, node: int, order: tuple[int, ...], *, kindly: bool) -> None:
        self.up.discard(node)
        self.ready.discard(node)
        if kindly:
            self.saved[node] = (order, set())
        for other in self.up:
            if self.links[other, node] == "CONNECTED":
                self.links[other, node] = "DISCONNECTED" if kindly else "RECOVERING"
        self.settle(order)

    def settle(self, order: tuple[int, ...]) -> None:
        for here, there in itertools.permutations(self.up, 2):
            self.links[here, there] = "CONNECTED"
            self.awaited[here].discard(there)
        for node in self.up:
            missing = {other for other in order if other != node and other not in self.up}
            if not (missing if self.full else self.awaited[node]):
                self.ready.add(node)
            if self.importing:
                held = {o for o in order if o != node and self.links[node, o] in {"CONNECTED", "RECOVERING"}}
                self.saved[node] = (order, held | self.awaited[node])

    def status(self, node: int) -> str:
        return "READY" if node in self.ready else "WAITING_FOR_PEERS" if self.full else "WAITING_FOR_RECOVERY"


_STEPS = st.lists(
    st.tuples(st.sampled_from(["toggle", "toggle", "toggle", "term", "reorder"]), st.integers(0, 2)),
    min_size=2,
    max_size=10,
)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(mode=st.sampled_from(["NONE", "RECOVERY", "FULL"]), steps=_STEPS)
def test_any_schedule_of_starts_kills_and_lists_ends_as_the_oracle_says(
    mode: str, steps: list[tuple[str, int]]
) -> None:
    importing = mode == "RECOVERY"
    with tempfile.TemporaryDirectory() as folder:
        options = {"IMEX_WAIT_FOR_QUORUM": mode, "EMULATOR_CONNECTED_IS_IMPORTING": int(importing)}
        domain, oracle = Domain(Path(folder), 3, options), Oracle(mode == "FULL", importing)
        try:
            for step, node in steps:
                take_step(domain, oracle, step, node)
                check(domain, oracle)
        finally:
            for node in list(domain.running):
                domain.stop(node)


def take_step(domain: Domain, oracle: Oracle, step: str, node: int) -> None:
    if step == "reorder":
        domain.order = domain.order[node:] + domain.order[:node]
        domain.write_nodes()
        domain.signal_all()
        oracle.settle(tuple(domain.order))
    elif node not in domain.running:
        domain.start(node)
        oracle.start(node, tuple(domain.order))
    else:
        domain.stop(node, signal.SIGTERM if step == "term" else signal.SIGKILL)
        oracle.end(node, tuple(domain.order), kindly=step == "term")


def check(domain: Domain, oracle: Oracle) -> None:
    """Wait until every daemon says what the oracle says, of itself, its links and the others."""
    place = {domain.address(node): node for node in range(domain.size)}

    def said(node: int) -> tuple[object, ...]:
        table = domain.table(node)
        rows = {place[row["host"]]: row for row in table["nodes"].values()}
        order = tuple(place[row["host"]] for row in table["nodes"].values())
        own = {place[each["host"]]: each["status"] for each in rows[node]["connections"].values()}
        return order, {other: rows[other]["status"] for other in rows}, own, table["status"]

    def expected(node: int) -> tuple[object, ...]:
        everyone = range(domain.size)
        statuses = {o: oracle.status(o) if o in oracle.up else "UNAVAILABLE" for o in everyone}
        own = {o: "CONNECTED" if o == node else oracle.links[node, o] for o in everyone}
        ready = len(oracle.ready)
        state = "UP" if ready == domain.size == len(oracle.up) else "DEGRADED" if ready else "DOWN"
        return tuple(domain.order), statuses, own, state

    def agree(node: int) -> bool:
        return said(node) == expected(node)

    for node in oracle.up:
        wait_until(partial(agree, node), lambda: [(node, said(node), expected(node)) for node in oracle.up])
