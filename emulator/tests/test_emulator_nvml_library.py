"""The C library against a served node: what every consumer relies on."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from claimwright.emulator.model.operations import gpus
from claimwright.emulator.nvml import compiling, compose, generate
from claimwright.emulator.nvml.driver_root import LIBRARY_FOLDER
from claimwright.emulator.testing import Served

SYMBOLS = generate.GENERATED / "symbols.txt"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "root") as served:
        yield served


@contextmanager
def _other_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Serve a node from a process that can be killed."""
    script = textwrap.dedent(
        """
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
    )
    root = compose(folder, "580.126.20")
    (folder / "dev").mkdir()
    for name in ("nvidiactl", "nvidia0"):
        (folder / "dev" / name).touch()
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(root.socket_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_every_symbol_of_the_census_is_exported() -> None:
    compiling.compile_all()
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", compiling.LIBRARY.path], capture_output=True, text=True, check=True
    )
    exported = {line.split()[2] for line in listed.stdout.splitlines()}
    census = {line for line in SYMBOLS.read_text().splitlines() if not line.startswith("#")}
    assert len(census) == 469
    assert census <= exported


def test_every_function_that_pynvml_binds_is_exported() -> None:
    import pynvml

    asked = set(re.findall(r'_nvmlGetFunctionPointer\("(\w+)"\)', Path(pynvml.__file__).read_text()))
    assert asked
    assert asked <= set(SYMBOLS.read_text().splitlines())


def test_the_committed_tables_are_what_the_generator_writes() -> None:
    pytest.importorskip("pycparser")
    assert generate.main(["--check"]) == 0


def test_the_library_needs_no_recent_glibc() -> None:
    compiling.compile_all()
    listed = subprocess.run(
        ["objdump", "-T", compiling.LIBRARY.path], capture_output=True, text=True, check=True
    )
    versions = {tuple(map(int, found.split("."))) for found in re.findall(r"GLIBC_([\d.]+)", listed.stdout)}
    assert max(versions) <= (2, 17)


def test_pynvml_sees_every_gpu_as_the_model_has_it(node: Served) -> None:
    said = node.python(
        """
        for i in range(n.nvmlDeviceGetCount()):
            h = n.nvmlDeviceGetHandleByIndex(i)
            m = n.nvmlDeviceGetMemoryInfo(h, version=n.nvmlMemory_v2)
            print(n.nvmlDeviceGetName(h), n.nvmlDeviceGetUUID(h), n.nvmlDeviceGetPciInfo(h).busId,
                  n.nvmlDeviceGetMinorNumber(h), n.nvmlDeviceGetModuleId(h), n.nvmlDeviceGetSerial(h),
                  m.total, m.reserved, sep="|")
        """
    )
    expected = [
        "|".join(
            map(
                str,
                (
                    gpu.board.name,
                    gpu.uuid,
                    gpu.pci.nvml,
                    gpu.minor,
                    gpu.module_id,
                    gpu.serial,
                    gpu.board.memory.total_bytes,
                    gpu.board.memory.reserved_bytes,
                ),
            )
        )
        for gpu in node.model.snapshot().gpus
    ]
    assert said.splitlines() == expected


def test_a_setter_in_one_process_is_read_in_another(node: Served) -> None:
    node.python("n.nvmlDeviceSetPersistenceMode(n.nvmlDeviceGetHandleByIndex(2), 1)")
    assert node.python("print(n.nvmlDeviceGetPersistenceMode(n.nvmlDeviceGetHandleByIndex(2)))") == "1"
    assert node.model.snapshot().gpus[2].persistence_mode


def test_a_change_of_the_model_is_read_at_once_by_an_open_library(node: Served) -> None:
    library = _load(node)
    device, value = ctypes.c_void_p(), ctypes.c_uint()
    assert library.nvmlInit_v2() == 0
    try:
        assert library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)) == 0
        node.model.perform(gpus.set_temperature, 0, 77)
        assert library.nvmlDeviceGetTemperature(device, 0, ctypes.byref(value)) == 0
        assert value.value == 77
        node.model.perform(gpus.lose, 0)
        assert library.nvmlDeviceGetTemperature(device, 0, ctypes.byref(value)) == 15
    finally:
        library.nvmlShutdown()


def test_only_gpus_with_a_device_node_are_seen(node: Served) -> None:
    for minor in (0, 1, 2, 4, 5, 6, 7):
        (node.root.path / f"dev/nvidia{minor}").unlink()
    said = node.python(
        """
        h = n.nvmlDeviceGetHandleByIndex(0)
        print(n.nvmlDeviceGetCount(), n.nvmlDeviceGetMinorNumber(h), n.nvmlDeviceGetIndex(h))
        """
    )
    assert said == "1 3 0"


def test_without_any_device_node_init_fails_unless_no_gpus_is_given(node: Served) -> None:
    for gpu in node.model.snapshot().gpus:
        (node.root.path / f"dev/nvidia{gpu.minor}").unlink()
    library = _load(node)
    assert library.nvmlInit_v2() == 28
    assert library.nvmlInitWithFlags(1) == 0
    assert library.nvmlShutdown() == 0


def test_calls_before_init_and_after_the_last_shutdown_are_uninitialized(node: Served) -> None:
    library, count = _load(node), ctypes.c_uint()
    assert library.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 1
    assert (library.nvmlInit_v2(), library.nvmlInit_v2(), library.nvmlShutdown()) == (0, 0, 0)
    assert library.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0
    assert library.nvmlShutdown() == 0
    assert library.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 1
    assert library.nvmlShutdown() == 1


@pytest.fixture
def public_node() -> Iterator[Served]:
    """A node in a folder that others may enter: pytest closes its own, again with each run that starts."""
    with tempfile.TemporaryDirectory(prefix="cw") as folder, Served(Path(folder) / "root") as served:
        Path(folder).chmod(0o755)
        for device in (served.root.path / "dev").iterdir():
            device.chmod(0o666)
        yield served


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_another_user_may_read_but_not_set(public_node: Served) -> None:
    said = _as_nobody(
        public_node,
        "h = n.nvmlDeviceGetHandleByIndex(0)\nprint(n.nvmlDeviceGetName(h))\n"
        "try: n.nvmlDeviceSetPersistenceMode(h, 1)\nexcept n.NVMLError_NoPermission: print('refused')",
    )
    assert said.split("\n") == ["NVIDIA H100 80GB HBM3", "refused"]
    assert not public_node.model.snapshot().gpus[0].persistence_mode


def test_the_bare_process_list_writes_records_of_its_own_age(node: Served) -> None:
    node.model.perform(gpus.start_process, 0, 41, "one", 1 << 30)
    node.model.perform(gpus.start_process, 0, 42, "two", 2 << 30)
    library, device = _load(node), ctypes.c_void_p()
    assert library.nvmlInit_v2() == 0
    try:
        library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device))
        room, count = (ctypes.c_uint64 * 5)(*[0xAA] * 5), ctypes.c_uint(2)
        assert library.nvmlDeviceGetComputeRunningProcesses(device, ctypes.byref(count), room) == 0
        seen = [room[0] & 0xFFFFFFFF, room[1], room[2] & 0xFFFFFFFF, room[3], room[4]]
        assert seen == [
            41,
            1 << 30,
            42,
            2 << 30,
            0xAA,
        ]
        count = ctypes.c_uint(1)
        assert library.nvmlDeviceGetComputeRunningProcesses_v3(device, ctypes.byref(count), None) == 7
        assert count.value == 2
    finally:
        library.nvmlShutdown()


def test_waiting_without_events_times_out_and_an_event_wakes_at_once(node: Served) -> None:
    library, device, made, data = _load(node), ctypes.c_void_p(), ctypes.c_void_p(), (ctypes.c_uint64 * 4)()
    assert library.nvmlInit_v2() == 0
    try:
        library.nvmlDeviceGetHandleByIndex_v2(1, ctypes.byref(device))
        assert library.nvmlEventSetCreate(ctypes.byref(made)) == 0
        assert library.nvmlDeviceRegisterEvents(device, ctypes.c_uint64(8), made) == 0
        started = time.monotonic()
        assert library.nvmlEventSetWait_v2(made, data, 150) == 10
        assert 0.14 <= time.monotonic() - started < 2
        assert node.server is not None
        node.loop.call_soon_threadsafe(node.server.send_event, 1, 8, 79)
        assert library.nvmlEventSetWait_v2(made, data, 10000) == 0
        assert (data[0], data[1], data[2]) == (device.value, 8, 79)
        assert library.nvmlEventSetFree(made) == 0
        assert library.nvmlEventSetWait_v2(made, data, 1) == 2
    finally:
        library.nvmlShutdown()


def test_after_kill_9_of_the_node_every_answer_is_immediate(tmp_path: Path) -> None:
    with _other_process(tmp_path / "root") as process:
        library = ctypes.CDLL(str(tmp_path / "root" / LIBRARY_FOLDER / "libnvidia-ml.so.1"))
        device, value, made, data = (
            ctypes.c_void_p(),
            ctypes.c_uint(),
            ctypes.c_void_p(),
            (ctypes.c_uint64 * 4)(),
        )
        assert library.nvmlInit_v2() == 0
        library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device))
        assert library.nvmlEventSetCreate(ctypes.byref(made)) == 0
        assert library.nvmlDeviceGetTemperature(device, 0, ctypes.byref(value)) == 0
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        started = time.monotonic()
        assert library.nvmlDeviceGetTemperature(device, 0, ctypes.byref(value)) == 15
        assert library.nvmlDeviceSetPersistenceMode(device, 1) == 15
        assert library.nvmlEventSetWait_v2(made, data, 20000) == 15
        assert time.monotonic() - started < 2
        assert library.nvmlShutdown() == 0
        assert library.nvmlInit_v2() == 9


def test_a_node_that_stops_is_lost_and_its_successor_is_found_after_a_new_init(tmp_path: Path) -> None:
    with Served(tmp_path / "root", "l4") as first:
        library, count = _load(first), ctypes.c_uint()
        assert library.nvmlInit_v2() == 0
        first.stop()
        assert library.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 15
        assert library.nvmlShutdown() == 0
        assert library.nvmlInit_v2() == 9
    for name in ("nvidiactl", "nvidia0"):
        (tmp_path / "root/dev" / name).unlink()
    (tmp_path / "root/dev").rmdir()
    with Served(tmp_path / "root", "l4"):
        assert library.nvmlInit_v2() == 0
        assert library.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0
        assert library.nvmlShutdown() == 0


@pytest.mark.parametrize("length", [60, 85, 91, 95, 100, 101, 107, 108, 150])
def test_the_node_is_found_whatever_the_length_of_its_socket_path(length: int) -> None:
    """A socket address holds 108 bytes: just below, just above and far above each have their own way."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        tail = "/run/nvidia-persistenced/socket"
        root = Path(folder + "/" + "r" * max(1, length - len(folder) - len(tail) - 1))
        with Served(root, "l4") as served:
            assert len(str(served.root.socket_path)) == max(length, len(folder) + 2 + len(tail))
            library = _load(served)
            assert library.nvmlInit_v2() == 0
            assert library.nvmlShutdown() == 0


def test_a_child_of_fork_sends_commands_on_a_connection_of_its_own(node: Served) -> None:
    said = node.python(
        """
        h = n.nvmlDeviceGetHandleByIndex(0)
        child = os.fork()
        for turn in range(200):
            n.nvmlDeviceSetPersistenceMode(h, turn % 2)
        if not child: os._exit(0)
        print(os.waitpid(child, 0)[1])
        """
    )
    assert said == "0"


def test_a_hundred_clients_at_once_are_all_served(node: Served) -> None:
    code = """
        import subprocess, threading
        n.nvmlShutdown()
        done = []
        def one():
            n.nvmlInit()
            done.append(n.nvmlDeviceGetCount())
        threads = [threading.Thread(target=one) for _ in range(8)]
        [t.start() for t in threads]; [t.join() for t in threads]
        sets = [n.nvmlEventSetCreate() for _ in range(100)]
        h = n.nvmlDeviceGetHandleByIndex(0)
        [n.nvmlDeviceRegisterEvents(h, 8, s) for s in sets]
        print(set(done), len(sets))
    """
    assert node.python(code) == "{8} 100"


def test_gpustat_and_nvitop_run_unchanged(node: Served) -> None:
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(node.root.library_dir),
        "TERM": "dumb",
        "LANG": "C.UTF-8",
    }
    for command in ("gpustat", "nvitop"):
        arguments = ["--once"] if command == "nvitop" else ["--no-color"]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", command, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("H100 80GB HBM3") == 8


def _load(node: Served) -> ctypes.CDLL:
    return ctypes.CDLL(str(node.library))


def _as_nobody(node: Served, code: str) -> str:
    """Read as root what the interpreter needs, then become another user before NVML is touched."""
    script = f"import pynvml as n, os\nos.setgid(65534); os.setuid(65534)\nn.nvmlInit()\n{code}"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(node.root.library_dir)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
