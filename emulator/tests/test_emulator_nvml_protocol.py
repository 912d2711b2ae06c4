"""The node's sockets with rubbish, silence and floods: whoever sends them ends alone, and nobody else waits."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimwright.emulator import control
from claimwright.emulator.model import NodeModel, build_node, load_node_profile
from claimwright.emulator.nvml._generated.functions import FUNCTIONS
from claimwright.emulator.nvml.layout import GREETING, MAGIC, PACKET_BYTES, REPLY, Operation
from claimwright.emulator.testing import Served

_SECONDS = 20
_CALLS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("protocol") / "root", "l4x4") as served:
        yield served


def _connect(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.settimeout(_SECONDS)
    made.connect(str(path))
    assert len(made.recv(GREETING.size)) == GREETING.size
    return made


def _request(operation: int, slot: int, *arguments: int) -> bytes:
    given_ = (*arguments, *[0] * (6 - len(arguments)))
    return struct.pack("<QII6Q", MAGIC, operation, slot, *given_)


def _is_served(node: Served) -> bool:
    """Ask as an honest client does: a command, and its answer."""
    with _connect(node.root.socket_path) as good:
        good.send(_request(Operation.SET_PERSISTENCE_MODE, 0, 1))
        return REPLY.unpack(good.recv(REPLY.size))["result"] == 0


_numbers = st.one_of(st.integers(0, 9), st.integers(0, 2**64 - 1))
_commands = st.builds(
    lambda operation, slot, arguments: _request(operation, slot, *arguments),
    st.integers(0, 12),
    st.one_of(st.integers(0, 5), st.integers(0, 2**32 - 1)),
    st.lists(_numbers, min_size=6, max_size=6),
)
# The length that a part names, and the bytes that follow, agree or do not.
_parts = st.builds(
    lambda room, size, data: struct.pack("<II", room, len(data) if size is None else size) + data,
    st.one_of(st.integers(0, 400), st.just(0xFFFFFFFF)),
    st.one_of(st.none(), st.none(), st.integers(0, 2**32 - 1)),
    st.one_of(
        st.builds(lambda number: struct.pack("<Q", number), _numbers),
        st.binary(max_size=96).map(lambda data: data + bytes(-len(data) % 8)),
    ),
)
_calls = st.builds(
    lambda function, parts: _request(Operation.CALL, function) + b"".join(parts),
    st.one_of(st.integers(0, len(FUNCTIONS) - 1), st.integers(0, 2**32 - 1)),
    st.lists(_parts, max_size=8),
)


@_CALLS
@given(st.one_of(_commands, _calls, st.binary(max_size=300)))
def test_no_packet_ends_the_node_or_goes_unanswered(
    node: Served, caplog: pytest.LogCaptureFixture, packet: bytes
) -> None:
    """It is answered or ends its sender, is never taken for a bug of the node's, and the next client is served."""
    caplog.clear()
    with _connect(node.root.socket_path) as client:
        client.send(packet)
        if packet:
            answer = client.recv(PACKET_BYTES)
            assert answer == b"" or len(answer) >= REPLY.size
    assert not [record for record in caplog.records if record.levelname == "ERROR"], caplog.text
    assert _is_served(node)


def test_clients_that_never_read_or_never_speak_delay_nobody(node: Served) -> None:
    with ExitStack() as open_:
        silent = [open_.enter_context(_connect(node.root.socket_path)) for _ in range(40)]
        for deaf in silent[:20]:  # answers pile up until the node gives this client up
            deaf.setblocking(False)
            try:
                for _ in range(5000):
                    deaf.send(_request(Operation.SET_PERSISTENCE_MODE, 0, 1))
            except OSError:
                pass
        started = time.monotonic()
        assert all(_is_served(node) for _ in range(20))
        assert time.monotonic() - started < 5


_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=True), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)
_lines = st.one_of(
    st.binary(max_size=200),
    _json.map(lambda value: json.dumps(value).encode()),
    st.builds(
        lambda operation, arguments: json.dumps({"operation": operation, "arguments": arguments}).encode(),
        st.one_of(st.sampled_from(sorted(control.TABLE)), st.text(max_size=9), _json),
        st.one_of(st.dictionaries(st.sampled_from(["gpu", "code", "x"]), _json, max_size=3), _json),
    ),
)


@pytest.fixture(scope="module")
def controlled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Serve the control socket of a model from a thread of its own."""
    path, ready = tmp_path_factory.mktemp("control") / "control", threading.Event()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def run() -> None:
        server = await control.serve(path, NodeModel(build_node(load_node_profile("l4"), "n")))
        ready.set()
        await stop.wait()
        server.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    assert ready.wait(_SECONDS)
    yield path
    loop.call_soon_threadsafe(stop.set)
    thread.join(_SECONDS)
    loop.close()


def _stream_to(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(_SECONDS)
    made.connect(str(path))
    return made


@_CALLS
@given(_lines)
def test_no_line_ends_the_control_socket_or_goes_unanswered(
    controlled: Path, caplog: pytest.LogCaptureFixture, line: bytes
) -> None:
    caplog.clear()
    with _stream_to(controlled) as client, client.makefile("rb") as answers:
        client.sendall(line.replace(b"\n", b" ") + b"\n")
        assert json.loads(answers.readline()).keys() & {"refused", "result"}
    assert not [record for record in caplog.records if record.levelname == "ERROR"], caplog.text
    assert control.call(controlled, "snapshot", {})["gpus"]


@pytest.mark.parametrize("opening", [b"[", b'{"a":'], ids=["lists", "objects"])
def test_a_line_nested_too_deeply_is_refused(
    controlled: Path, caplog: pytest.LogCaptureFixture, opening: bytes
) -> None:
    with _stream_to(controlled) as client, client.makefile("rb") as answers:
        client.sendall(opening * 100_000 + b"\n")
        assert json.loads(answers.readline())["refused"] == "INVALID_ARGUMENT"
    assert not [record for record in caplog.records if record.levelname == "ERROR"], caplog.text


def test_a_half_sent_control_request_delays_nobody(controlled: Path) -> None:
    with ExitStack() as open_:
        for _ in range(20):
            open_.enter_context(_stream_to(controlled)).sendall(b'{"operation": "snap')
        assert control.call(controlled, "snapshot", {}, timeout_seconds=5)["gpus"]


_KILLED = """
import ctypes, os, signal, sys, threading, time
library, pid = ctypes.CDLL(sys.argv[1]), int(sys.argv[2])
assert library.nvmlInit_v2() == 0
device, made = ctypes.c_void_p(), ctypes.c_void_p()
assert library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)) == 0
assert library.nvmlEventSetCreate(ctypes.byref(made)) == 0
killed, ends = [0.0], []
def until_lost(call):
    while True:
        result = call()
        if result in (9, 15):
            ends.append((time.monotonic() - killed[0], result))
            return
        assert result in (0, 10), result
value, data = ctypes.c_uint(), (ctypes.c_uint64 * 4)()
room = ctypes.create_string_buffer(4096)
calls = [
    lambda: library.nvmlDeviceGetTemperature(device, 0, ctypes.byref(value)),
    lambda: library.nvmlDeviceSetPersistenceMode(device, 1),
    lambda: library.nvmlEventSetWait_v2(made, data, 60000),
    lambda: library.nvmlDeviceGetTotalEnergyConsumption(device, room),
]
threads = [threading.Thread(target=until_lost, args=(call,)) for call in calls * 2]
[thread.start() for thread in threads]
time.sleep(0.05)  # all of them are under way
killed[0] = time.monotonic()
os.kill(pid, signal.SIGKILL)
[thread.join(20) for thread in threads]
assert len(ends) == len(threads), ends
print(max(end for end, _ in ends))
"""

_NODE = """
import asyncio, sys
from pathlib import Path
from claimwright.emulator.model import NodeModel, build_node, load_node_profile
from claimwright.emulator.nvml.server import serving
async def run():
    async with serving(Path(sys.argv[1]), NodeModel(build_node(load_node_profile("l4"), "other"))):
        print("ready", flush=True)
        await asyncio.Event().wait()
asyncio.run(run())
"""


def _longest_after_kill(folder: Path) -> float:
    """Kill a node under eight threads of calls; return how long the last of them took to be told, seconds."""
    served = Served(folder, "l4")  # for its folder only: the node is another process
    node = subprocess.Popen(
        [sys.executable, "-c", _NODE, str(served.root.socket_path)], stdout=subprocess.PIPE, text=True
    )
    served.loop.close()
    with node:
        try:
            assert node.stdout is not None
            assert node.stdout.readline() == "ready\n"
            done = subprocess.run(
                [sys.executable, "-c", _KILLED, str(served.library), str(node.pid)],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            node.kill()
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def test_every_call_under_way_returns_within_100_ms_of_kill_9(tmp_path: Path) -> None:
    """The best of some tries: a busy machine may hold a thread back for longer, the library must not."""
    taken = []
    for number in range(5):
        taken.append(_longest_after_kill(tmp_path / f"root{number}"))
        if taken[-1] < 0.1:
            return
    pytest.fail(f"the slowest call took {taken} s")


_FORKS = """
def one():
    while not ended:
        s = n.nvmlEventSetCreate(); n.nvmlEventSetFree(s)
        n.nvmlDeviceSetPersistenceMode(h, 1)
        g = n.nvmlGpmSampleAlloc(); n.nvmlGpmSampleFree(g)
import threading
h, ended = n.nvmlDeviceGetHandleByIndex(0), []
threads = [threading.Thread(target=one) for _ in range(3)]
[t.start() for t in threads]
codes = []
for turn in range(60):
    child = os.fork()
    if not child:
        s = n.nvmlEventSetCreate(); n.nvmlEventSetFree(s)
        n.nvmlDeviceSetPersistenceMode(h, 0)
        g = n.nvmlGpmSampleAlloc(); n.nvmlGpmSampleFree(g)
        n.nvmlShutdown()
        os._exit(n.nvmlInit() or 0)
    codes.append(os.waitpid(child, 0)[1])
ended.append(1)
[t.join() for t in threads]
print(set(codes))
"""


def test_children_forked_while_threads_call_use_the_library_at_once(node: Served) -> None:
    assert node.python(textwrap.dedent(_FORKS)) == "{0}"
