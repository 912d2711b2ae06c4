"""A node's files through FUSE: many programs at once, killed ones, rubbish, and a node that dies."""

from __future__ import annotations

import errno
import os
import platform
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from claimwright.emulator import running
from claimwright.emulator.files import fuse
from claimwright.emulator.files.faces import standing_alone
from claimwright.emulator.files.fuse_mounts import usable
from claimwright.emulator.files.hosting import HostFiles
from claimwright.emulator.files.majors import Majors
from claimwright.emulator.files.mountinfo import read_mounts
from claimwright.emulator.model import NodeModel, build_node, load_node_profile
from claimwright.emulator.model.operations import bus, gpus
from claimwright.emulator.node_folder import NodeFolder, holder

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(usable() is not None, reason=f"FUSE: {usable()}"),
]

GPU = "0000:53:00.0"


@pytest.fixture
def model() -> NodeModel:
    return NodeModel(build_node(load_node_profile("hgx-h100"), "node-a"))


@pytest.fixture
def root(model: NodeModel) -> Iterator[Path]:
    files, label = HostFiles(model, standing_alone(Majors())), f"claimwright-test-{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="claimwright-fuse-") as folder:
        Path(folder).chmod(0o755)  # pytest's own folders are closed to other users
        place = Path(folder, "host")
        place.mkdir()
        with fuse.mounted(files, place, label):
            yield place


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.002)


def written(path: Path, data: bytes) -> int:
    """Make one write(2); return 0, or the errno that it got."""
    try:
        handle = os.open(path, os.O_WRONLY)
    except OSError as error:
        return error.errno or -1
    try:
        os.write(handle, data)
    except OSError as error:
        return error.errno or -1
    finally:
        os.close(handle)
    return 0


def leaving(model: NodeModel) -> bool:
    state = model.snapshot()
    return state.bus.functions[state.gpus[0].pci].leaving is not None


def test_of_many_writers_at_once_exactly_one_binds(model: NodeModel, root: Path) -> None:
    drivers = root / "sys/bus/pci/drivers"
    for _ in range(10):
        assert written(drivers / "nvidia/unbind", GPU.encode()) == 0
        with ThreadPoolExecutor(16) as writers:
            answers = list(writers.map(lambda _: written(drivers / "nvidia/bind", GPU.encode()), range(16)))
        assert sorted(answers) == [0] + 15 * [errno.EBUSY]
        assert len(model.snapshot().nvml_gpus) == 8


def test_writers_of_different_gpus_do_not_disturb_each_other(model: NodeModel, root: Path) -> None:
    addresses = [str(gpu.pci) for gpu in model.snapshot().gpus]

    def round_trip(address: str) -> int:
        device, drivers = root / f"sys/bus/pci/devices/{address}", root / "sys/bus/pci/drivers"
        done = 0
        for _ in range(5):
            done |= written(drivers / "nvidia/unbind", address.encode())
            done |= written(device / "driver_override", b"vfio-pci\n")
            done |= written(drivers / "vfio-pci/bind", address.encode())
            done |= written(drivers / "vfio-pci/unbind", address.encode())
            done |= written(device / "driver_override", b"\n")
            done |= written(root / "sys/bus/pci/drivers_probe", address.encode())
        return done

    with ThreadPoolExecutor(8) as writers:
        assert list(writers.map(round_trip, addresses)) == [0] * 8
    assert len(model.snapshot().nvml_gpus) == 8
    assert sorted(each.name for each in (root / "proc/driver/nvidia/gpus").iterdir()) == sorted(addresses)


def test_a_writer_killed_while_it_waits_is_gone_at_once_and_its_unbind_happens_later(
    model: NodeModel, root: Path
) -> None:
    """The kernel takes the device from its driver all the same: the write had begun."""
    model.perform(gpus.start_process, 0, 7, "train", 1)
    writer = subprocess.Popen(["sh", "-c", f"echo {GPU} > {root}/sys/bus/pci/drivers/nvidia/unbind"])
    wait_until(lambda: leaving(model))

    writer.send_signal(signal.SIGKILL)
    assert writer.wait(timeout=5) == -signal.SIGKILL

    assert (root / f"sys/bus/pci/devices/{GPU}/vendor").read_text() == "0x10de\n"
    assert len(model.snapshot().nvml_gpus) == 8
    model.perform(gpus.stop_process, 0, 7)
    assert len(model.snapshot().nvml_gpus) == 7


@pytest.mark.skipif(
    tuple(map(int, platform.release().split(".")[:2])) < (6, 2),
    reason="before Linux 6.2 FUSE lets one writer of a file in at a time",
)
def test_while_one_writer_waits_everybody_else_goes_on(model: NodeModel, root: Path) -> None:
    model.perform(gpus.start_process, 0, 7, "train", 1)
    unbind, other = root / "sys/bus/pci/drivers/nvidia/unbind", str(model.snapshot().gpus[1].pci)
    with ThreadPoolExecutor(2) as writers:
        waiting = writers.submit(written, unbind, GPU.encode())
        wait_until(lambda: leaving(model))
        try:
            assert writers.submit(written, unbind, other.encode()).result(timeout=20) == 0
            assert not waiting.done()
        finally:
            model.perform(gpus.stop_process, 0, 7)
        assert waiting.result(timeout=20) == 0


def test_a_file_that_is_open_when_its_device_goes_says_so(model: NodeModel, root: Path) -> None:
    handle = os.open(root / f"sys/bus/pci/devices/{GPU}/driver_override", os.O_RDWR)
    try:
        model.perform(bus.remove, GPU)
        for use in (lambda: os.pread(handle, 10, 0), lambda: os.write(handle, b"vfio-pci")):
            with pytest.raises(OSError) as refused:  # noqa: PT011 - its errno is what is looked at
                use()
            assert refused.value.errno == errno.ENODEV
    finally:
        os.close(handle)


@pytest.mark.parametrize(
    ("attempt", "number"),
    [
        (lambda root: (root / "sys/bus/pci/mine").mkdir(), errno.EPERM),
        (lambda root: (root / "sys/bus/pci/mine").write_text("x"), errno.EACCES),
        (lambda root: (root / "proc/driver/nvidia/version").unlink(), errno.EPERM),
        (lambda root: (root / "sys/bus/pci/devices").rename(root / "sys/bus/pci/other"), errno.EPERM),
        (lambda root: (root / "sys/bus/pci/rescan").chmod(0o777), errno.EPERM),
        (lambda root: (root / "sys/bus/pci/new").symlink_to("x"), errno.EPERM),
        (lambda root: (root / f"sys/bus/pci/devices/{GPU}/vendor").write_text("x"), errno.EACCES),
        (lambda root: (root / "sys/bus/pci/rescan").write_bytes(b"\xff\xfe\x00"), errno.EINVAL),
        (lambda root: (root / ("x" * 300)).stat(), errno.ENAMETOOLONG),
        (lambda root: Path(os.fsdecode(bytes(root) + b"/\xff\xfe")).stat(), errno.ENOENT),
    ],
)
def test_rubbish_is_refused_and_the_files_stay(
    root: Path, attempt: Callable[[Path], object], number: int
) -> None:
    with pytest.raises(OSError) as refused:  # noqa: PT011 - its errno is what is looked at
        attempt(root)
    assert refused.value.errno == number
    assert (root / f"sys/bus/pci/devices/{GPU}/vendor").read_text() == "0x10de\n"


def test_who_is_not_root_reads_what_everybody_may_and_writes_nothing(root: Path) -> None:
    device = root / f"sys/bus/pci/devices/{GPU}"
    script = f"cat {device}/vendor; echo vfio-pci > {device}/driver_override; cat {device}/resource0"
    done = subprocess.run(
        ["sh", "-c", f"cd /; {script}"], user=65534, group=65534, capture_output=True, text=True, check=False
    )
    assert done.stdout == "0x10de\n"
    assert done.stderr.count("ermission denied") == 2
    assert (device / "driver_override").read_text() == "(null)\n"


def test_readers_see_whole_files_while_writers_change_them(model: NodeModel, root: Path) -> None:
    override = root / f"sys/bus/pci/devices/{GPU}/driver_override"
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for word in (b"vfio-pci", b"nvidia", b"\n"):
                written(override, word)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = {override.read_text() for _ in range(300)}
    finally:
        stop.set()
        writer.join()
    assert seen <= {"vfio-pci\n", "nvidia\n", "(null)\n"}


def test_a_read_costs_a_fraction_of_a_millisecond(root: Path) -> None:
    """The budget is 150 µs (`claimwright bench`); here a wide margin, for a loaded machine."""
    path = os.fspath(root / f"sys/bus/pci/devices/{GPU}/vendor")
    taken = []
    for _ in range(300):
        started = time.perf_counter()
        handle = os.open(path, os.O_RDONLY)
        os.read(handle, 4096)
        os.close(handle)
        taken.append(time.perf_counter() - started)
    assert statistics.median(taken) < 0.005


def test_a_killed_node_leaves_no_mount_after_down_and_can_be_booted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def mounts() -> list[str]:
        return [each.target for each in read_mounts() if each.target.startswith(str(tmp_path))]

    try:
        node = running.up("l4", name="one", files="fuse")
        vendor = node.host_root / "sys/bus/pci/devices/0000:41:00.0/vendor"
        assert vendor.read_text() == "0x10de\n"
        os.kill(node.pid, signal.SIGKILL)
        wait_until(lambda: holder(NodeFolder(node.folder)) is None)
        with pytest.raises(OSError) as dead:  # noqa: PT011 - its errno is what is looked at
            vendor.read_text()
        assert dead.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)

        again = running.up("l4", name="one", files="fuse")
        assert vendor.read_text() == "0x10de\n"
        os.kill(again.pid, signal.SIGKILL)
        wait_until(lambda: holder(NodeFolder(node.folder)) is None)
        assert mounts() != []
    finally:
        running.down("one")
    assert mounts() == []
