"""Every class of fault from outside: injected by command, seen by an NVML client and in files, and gone again."""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from claimwright.emulator import running
from claimwright.emulator.commands import node as node_command
from claimwright.emulator.model.faults import FAULTS
from claimwright.emulator.node_folder import NodeFolder

pytestmark = pytest.mark.slow

# What one NVML client reads of one GPU; a refusal is its code.
_READ = """
import json, sys, time
import pynvml as n

def read(function, *arguments):
    try:
        return function(*arguments)
    except n.NVMLError as error:
        return f"error {error.value}"

def field(handle, number):
    value = n.nvmlDeviceGetFieldValues(handle, [number])[0]
    return value.value.uiVal if value.nvmlReturn == 0 else f"error {value.nvmlReturn}"

def fabric(handle):
    info = n.c_nvmlGpuFabricInfo_v3_t()
    info.version = n.nvmlGpuFabricInfo_v3
    n.nvmlDeviceGetGpuFabricInfoV(handle, n.byref(info))
    return [info.state, info.status, info.healthMask, info.healthSummary]

def whole(uuid):
    started = time.monotonic()
    h = n.nvmlDeviceGetHandleByUUID(uuid)
    lookup = time.monotonic() - started
    return {
        "count": n.nvmlDeviceGetCount(),
        "slow": lookup > 0.2,
        "name": read(n.nvmlDeviceGetName, h),
        "minor": read(n.nvmlDeviceGetMinorNumber, h),
        "persistence": read(n.nvmlDeviceGetPersistenceMode, h),
        "temperature": read(n.nvmlDeviceGetTemperature, h, 0),
        "clock": read(n.nvmlDeviceGetClockInfo, h, 0),
        "reasons": read(n.nvmlDeviceGetCurrentClocksEventReasons, h) & ~1,
        "rows": read(n.nvmlDeviceGetRemappedRows, h)[2:],
        "pending_rows": field(h, 144),
        "recovery": field(h, 230),
        "generation": read(n.nvmlDeviceGetCurrPcieLinkGeneration, h),
        "width": read(n.nvmlDeviceGetCurrPcieLinkWidth, h),
        "replays": read(n.nvmlDeviceGetPcieReplayCounter, h),
        "replays_field": field(h, 94),
        "link_4": read(n.nvmlDeviceGetNvLinkState, h, 4),
        "links": sum(read(n.nvmlDeviceGetNvLinkState, h, link) for link in range(18)),
        "crc_flit": read(n.nvmlDeviceGetNvLinkErrorCounter, h, 4, n.NVML_NVLINK_ERROR_DL_CRC_FLIT),
        "crc_flit_field": field(h, 36),
        "fabric": read(fabric, h),
        "inforom": read(n.nvmlDeviceValidateInforom, h),
        "inforom_image": read(n.nvmlDeviceGetInforomImageVersion, h),
        "corrected": read(n.nvmlDeviceGetTotalEccErrors, h, 0, 0),
        "uncorrected": read(n.nvmlDeviceGetTotalEccErrors, h, 1, 0),
        "processes": [process.pid for process in read(n.nvmlDeviceGetComputeRunningProcesses, h)],
    }

def answer(uuid):
    try:
        n.nvmlInit()
    except n.NVMLError as error:
        return {"init": error.value}
    try:
        return whole(uuid)
    except n.NVMLError as error:
        return {"handle": error.value, "count": n.nvmlDeviceGetCount()}
    finally:
        n.nvmlShutdown()

for line in sys.stdin:
    print(json.dumps(answer(line.strip())), flush=True)
"""

_NAME_OF_GPU_1 = """
import pynvml as n
n.nvmlInit()
print("in", flush=True)
print(n.nvmlDeviceGetName(n.nvmlDeviceGetHandleByIndex(1)))
"""

# What is seen of GPU 1 while it lasts; what is not named is as before.
LASTING: dict[str, dict[str, Any]] = {
    "xid=79 gpu=1": {"handle": 15, "count": 8},
    "xid=95 gpu=1": {"recovery": 4},
    "reset-required gpu=1": {"recovery": 1},
    "ecc-double-bit gpu=1": {"recovery": 1, "pending_rows": 1, "uncorrected": 1, "rows": [1, 0]},
    "ecc-uncontained gpu=1": {"recovery": 4, "uncorrected": 1},
    "row-remap gpu=1 uncorrected=2": {"recovery": 1, "pending_rows": 1, "rows": [1, 0]},
    "row-remap-failure gpu=1": {"rows": [0, 1]},
    "memory-exhausted gpu=1 pid=4242": {"processes": [4242], "clock": 1980},
    "gpu-lost gpu=1": {"handle": 15, "count": 8},
    "pcie-degraded gpu=1 generation=2 width=4": {"generation": 2, "width": 4},
    "unbind-blocked gpu=1": {},
    "hot-remove gpu=1": {"handle": 6, "count": 7},
    "nvlink-down gpu=1 link=4": {"link_4": 0, "links": 17},
    "nvswitch-fatal switch=0": {"recovery": 7},
    "fabric-degraded gpu=1 what=bandwidth": {"fabric": [3, 0, 0x1A9, 3]},
    "fabric-incomplete gpu=1 state=in-progress": {"fabric": [2, 0, 0, 0]},
    "fabric-incomplete gpu=1 state=failed": {"fabric": [3, 999, 0, 0]},
    "fabric-manager-gone": {},
    "thermal-slowdown gpu=1 celsius=92": {"temperature": 92, "reasons": 0x68},
    "thermal-shutdown gpu=1": {"handle": 15, "count": 8},
    "power-brake gpu=1": {"reasons": 0x88},
    "power-cap gpu=1": {"reasons": 0x4},
    "clocks-stuck gpu=1 mhz=600": {"clock": 600},
    "nvml-slow function=nvmlDeviceGetHandleByUUID seconds=0.3": {"slow": True},
    "nvml-fails function=nvmlDeviceGetName code=UNKNOWN gpu=1": {"name": "error 999"},
    "nvml-fails function=nvmlDeviceGetName code=UNKNOWN gpu=2": {},
    "nvml-fails function=nvmlDeviceGetHandleByUUID code=TIMEOUT": {"handle": 10, "count": 8},
    "slow-handles seconds=0.3": {"slow": True},
    "slow-mig-destroy seconds=0.1": {},
    "driver-reload": {"init": 9},
    "driver-mismatch": {"init": 18},
    "persistence-daemon-gone": {"persistence": 0},
    "inforom-corrupt gpu=1": {"inforom": "error 14", "inforom_image": "error 14"},
}
# What stays counted until a reset.
COUNTED: dict[str, dict[str, Any]] = {
    "ecc-single-bit gpu=1 count=3": {"corrected": 3},
    "ecc-storm gpu=1 count=500": {"corrected": 500},
    "ecc-contained gpu=1": {"uncorrected": 1},
    "pcie-replays gpu=1 count=7": {"replays": 7, "replays_field": 7},
    "nvlink-errors gpu=1 link=4 crc_flit=5": {"crc_flit": 5, "crc_flit_field": 5},
}
# Elsewhere: T4, boards with fans, nodes with IMEX, MIG.
NOT_HERE = {"retired-pages", "fan-failure", "imex-peer-loss", "mig-half-made"}


class Observer:
    """A process that reads a GPU by NVML when asked."""

    def __init__(self, node: running.RunningNode) -> None:
        environment = {**os.environ, **node.environment}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _READ],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read(self, uuid: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{uuid}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the observer died"
        found: dict[str, Any] = json.loads(line)
        return found


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[running.RunningNode]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        started = running.up("hgx-h100", name="faces")
        started.call("set_persistence_mode", gpu=0, enabled=True)
        for gpu in range(8):
            started.call("set_persistence_mode", gpu=gpu, enabled=True)
        yield started
        running.down("faces")


@pytest.fixture(scope="module")
def observer(node: running.RunningNode) -> Iterator[Observer]:
    made = Observer(node)
    yield made
    made.process.kill()
    made.process.communicate()


@pytest.fixture
def uuid(node: running.RunningNode) -> Iterator[str]:
    """Give GPU 1, whole; mend what a test leaves."""
    yield str(node.call("snapshot")["gpus"][1]["uuid"])
    command("clear", "--all")
    for record in node.call("snapshot")["gpus"][1]["processes"]:
        node.call("stop_process", gpu=1, pid=record["pid"])
    node.call("reset_gpu", gpu=1)
    for gpu in range(8):
        node.call("set_persistence_mode", gpu=gpu, enabled=True)


def command(*words: str) -> Result:
    return CliRunner().invoke(node_command, ["fault", *words], catch_exceptions=False)


def inject(words: str) -> None:
    result = command("inject", *words.split())
    assert result.exit_code == 0, result.output


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.002)


def test_every_class_is_observed_here() -> None:
    tried = {("xid" if words.startswith("xid=") else words.split()[0]) for words in (*LASTING, *COUNTED)}
    assert tried | NOT_HERE >= set(FAULTS)


@pytest.mark.capability("004-18")
@pytest.mark.parametrize("words", LASTING)
def test_a_fault_is_seen_by_an_nvml_client_and_gone_after_it_is_cleared(
    node: running.RunningNode, observer: Observer, uuid: str, words: str
) -> None:
    before = observer.read(uuid)
    inject(words)
    during = observer.read(uuid)
    expected = LASTING[words]
    assert {key: during.get(key) for key in expected} == expected
    if "name" in during:
        volatile = {"clock", "temperature", "links", "link_4"}
        same = set(before) - set(expected) - volatile
        assert {key: during[key] for key in same} == {key: before[key] for key in same}
    assert len(node.call("list_faults")) == 1
    command("clear", "--all")
    node.call("reset_gpu", gpu=1)
    after = observer.read(uuid)
    kept = {"persistence"} if words.startswith("hot-remove") else set()  # a driver forgets what it lets go of
    assert {key: after[key] for key in before if key not in kept} == {
        key: before[key] for key in before if key not in kept
    }


@pytest.mark.parametrize("words", COUNTED)
def test_what_is_counted_is_seen_until_a_reset(
    node: running.RunningNode, observer: Observer, uuid: str, words: str
) -> None:
    inject(words)
    seen = observer.read(uuid)
    assert {key: seen[key] for key in COUNTED[words]} == COUNTED[words]
    node.call("reset_gpu", gpu=1)
    seen = observer.read(uuid)
    assert {key: seen[key] for key in COUNTED[words]} == dict.fromkeys(COUNTED[words], 0)


def smi(node: running.RunningNode, *words: str) -> str:
    environment = {**os.environ, **node.environment}
    done = subprocess.run(
        ["nvidia-smi", *words], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout


def test_a_half_made_instance_is_seen_by_nvidia_smi_and_slow_to_destroy(
    node: running.RunningNode, uuid: str
) -> None:
    node.call("set_mig_mode", gpu=1, enabled=True)
    try:
        inject("mig-half-made gpu=1 profile=19 start=2")
        assert "2:1" in smi(node, "mig", "-i", "1", "-lgi")
        assert "MIG 1g" not in smi(node, "-L")
        inject("slow-mig-destroy seconds=0.5")
        started = time.monotonic()
        smi(node, "mig", "-i", "1", "-dgi")
        assert time.monotonic() - started >= 0.5
        assert "2:1" not in smi(node, "mig", "-i", "1", "-lgi")
    finally:
        command("clear", "--all")
        node.call("set_mig_mode", gpu=1, enabled=False)


@pytest.mark.parametrize(
    ("profile", "words", "seen"),
    [
        ("t4", "retired-pages gpu=0 pages=2", ("retired_pages.pending", "Yes")),
    ],
)
def test_faults_of_other_boards_are_seen_by_nvidia_smi_and_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str, words: str, seen: tuple[str, str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    other = running.up(profile, name="other", files="plain")
    try:
        query = (f"--query-gpu={seen[0]}", "--format=csv,noheader")
        before = smi(other, *query)
        inject(words)
        assert smi(other, *query).strip() == seen[1] != before.strip()
        command("clear", "--all")
        assert smi(other, *query) == before
    finally:
        running.down("other")


def test_an_open_file_keeps_the_gpu_in_nvml_until_it_is_closed(
    node: running.RunningNode, observer: Observer, uuid: str
) -> None:
    address = node.call("snapshot")["gpus"][1]["pci"]
    listed = node.host_root / "proc/driver/nvidia/gpus" / address
    node.call("set_persistence_mode", gpu=1, enabled=False)
    inject("unbind-blocked gpu=1")
    node.call("unbind", function=address)
    assert observer.read(uuid)["count"] == 8
    assert listed.exists()
    assert node.call("snapshot")["gpus"][1]["leaving"]
    command("clear", "unbind-blocked")
    wait_until(lambda: not listed.exists())
    assert observer.read(uuid) == {"handle": 6, "count": 7}
    node.call("bind", function=address, driver="nvidia")
    wait_until(listed.exists)
    assert observer.read(uuid)["count"] == 8


def test_files_and_nvml_and_nvidia_smi_agree_about_a_pulled_card(
    node: running.RunningNode, observer: Observer, uuid: str
) -> None:
    address = node.call("snapshot")["gpus"][1]["pci"]
    listed = node.host_root / "proc/driver/nvidia/gpus" / address
    device = node.host_root / "sys/bus/pci/devices" / address

    def smi() -> str:
        environment = {**os.environ, **node.environment}
        return subprocess.run(
            ["nvidia-smi", "-L"], env=environment, capture_output=True, text=True, timeout=30, check=True
        ).stdout

    assert listed.exists()
    assert uuid in smi()
    inject("hot-remove gpu=1")
    wait_until(lambda: not listed.exists() and not device.exists())
    assert uuid not in smi()
    assert observer.read(uuid)["count"] == 7
    command("clear", "--all")
    wait_until(lambda: listed.exists() and device.exists())
    assert uuid in smi()


def test_an_xid_stands_in_the_kernel_log_as_the_driver_prints_it(
    node: running.RunningNode, uuid: str
) -> None:
    address = node.call("snapshot")["gpus"][1]["pci"]
    inject("xid=79 gpu=1")
    lines = NodeFolder(node.folder).kernel_log.read_text().splitlines()
    pattern = rf"\[ *\d+\.\d{{6}}\] NVRM: Xid \(PCI:{address.rpartition('.')[0]}\): 79, .*GPU has fallen off the bus\."
    assert any(re.fullmatch(pattern, line) for line in lines)


def test_a_timed_fault_ends_by_itself_though_the_command_is_gone(
    node: running.RunningNode, observer: Observer, uuid: str
) -> None:
    inject("nvlink-down gpu=1 link=4 for=300ms")
    assert observer.read(uuid)["link_4"] == 0
    wait_until(lambda: not node.call("list_faults"))
    assert observer.read(uuid)["link_4"] == 1


def test_clearing_a_slow_function_ends_the_call_that_waits(node: running.RunningNode, uuid: str) -> None:
    inject("nvml-slow function=nvmlDeviceGetName seconds=600")
    waiting = subprocess.Popen(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            _NAME_OF_GPU_1,
        ],
        env={**os.environ, **node.environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    with waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "in\n"
        command("clear", "nvml-slow")
        assert "H100" in waiting.communicate(timeout=20)[0]


def test_a_client_that_was_running_goes_on_through_a_version_mismatch(
    node: running.RunningNode, uuid: str
) -> None:
    library = ctypes.CDLL(str(node.driver_root / "usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"))
    assert library.nvmlInit_v2() == 0
    try:
        inject("driver-mismatch")
        count = ctypes.c_uint()
        assert library.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0
        inject("driver-reload")
        assert library.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 15
        command("clear", "--all")
        assert library.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0
        assert count.value == 8
    finally:
        library.nvmlShutdown()


def test_the_list_shows_classes_and_what_is_in_force(node: running.RunningNode, uuid: str) -> None:
    inject("power-cap gpu=1 percent=50")
    listed = json.loads(command("list", "--json").output)
    assert {each["name"] for each in listed["classes"]} == set(FAULTS)
    (active,) = listed["active"]["faces"]
    assert (active["name"], active["parameters"]) == ("power-cap", {"gpu": 1, "percent": 50})
    assert "power-cap gpu=INTEGER" in command("list").output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("inject xidd gpu=1", "no fault 'xidd'"),
        ("inject gpu-lost", "gpu: Field required"),
        ("inject gpu-lost gpu=1 for=soon", "'soon' is no duration"),
        ("inject nvlink-down gpu=1 link=20 for=1s", "has no NVLink 20"),
        ("inject gpu-lost gpu", "expected key=value, not 'gpu'"),
        ("clear 4711", "no fault 4711 is active"),
        ("clear", "say which"),
        ("run /nonexistent.yaml", "cannot be read"),
        ("stop 99", "no script run 99"),
    ],
)
def test_rubbish_is_refused_with_one_clear_message(
    node: running.RunningNode, uuid: str, words: str, said: str
) -> None:
    result = command(*words.split())
    assert result.exit_code != 0
    assert said in result.output
    assert "Traceback" not in result.output


def test_a_cancelled_script_ends_its_own_faults_and_no_others(
    node: running.RunningNode, tmp_path: Path, uuid: str
) -> None:
    inject("power-cap gpu=1")
    text = "steps:\n  - {at: 0, inject: power-brake gpu=1}\n  - {at: 1h, clear: all}\n"
    run = node.call("run_script", text=text, source="x.yaml")["run"]
    wait_until(lambda: len(node.call("list_faults")) == 2)
    assert command("stop", str(run)).exit_code == 0
    wait_until(lambda: [each["name"] for each in node.call("list_faults")] == ["power-cap"])


def test_a_malformed_script_is_refused_with_line_and_reason(
    node: running.RunningNode, tmp_path: Path
) -> None:
    script = tmp_path / "bad.yaml"
    script.write_text("steps:\n  - at: 1s\n    inject: xid=79\n")
    result = command("run", str(script))
    assert result.exit_code != 0
    assert "bad.yaml:3: steps.0.inject: fault xid: gpu: Field required" in result.output


def test_a_script_whose_expectation_does_not_hold_fails(
    node: running.RunningNode, tmp_path: Path, uuid: str
) -> None:
    script = tmp_path / "expects.yaml"
    script.write_text(
        "steps:\n  - {at: 0, inject: gpu-lost gpu=1}\n  - {at: 0, expect: {gpus.1.lost: true}}\n"
        "  - {at: 10ms, expect: {gpus.1.lost: false}}\n"
    )
    result = command("run", str(script))
    assert result.exit_code != 0
    assert "gpus.1.lost is True, expected False" in result.output
    assert not node.call("list_faults")
