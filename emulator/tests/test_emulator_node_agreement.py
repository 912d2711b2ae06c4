"""gpustat, nvitop, pynvml and nvidia-smi on one live node: each tells what `claimwright node inspect --json` tells."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from claimwright.emulator import running
from claimwright.emulator.commands import node as node_command

pytestmark = pytest.mark.slow  # boots a process

MIB = 1 << 20


class Live:
    """A running node that is busy in every way that the clients can see, and what inspect says of it."""

    def __init__(self, node: running.RunningNode) -> None:
        self.node = node
        inspected = CliRunner().invoke(node_command, ("inspect", node.name, "--json"))
        assert inspected.exit_code == 0, inspected.output
        self.told: dict[str, Any] = json.loads(inspected.output)
        self.gpus: list[dict[str, Any]] = [gpu for gpu in self.told["gpus"] if gpu["nvml_visible"]]

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            env={**os.environ, **self.node.environment, "TERM": "dumb", "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def python(self, code: str) -> Any:
        """Run code that puts its findings into `found`."""
        script = f"import json\n{textwrap.dedent(code)}\nprint(json.dumps(found))"
        return json.loads(self.run(sys.executable, "-W", "ignore", "-c", script))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """GPU 0 is loaded, 1 is cut by MIG, 2 is for one process, 3 saves power, 7 belongs to a virtual machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        sleepers = [
            subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) for _ in range(3)
        ]
        try:
            node = running.up("hgx-h100", name="busy")
            _make_busy(node, [sleeper.pid for sleeper in sleepers])
            yield Live(node)
        finally:
            for name in running.known_names():
                running.down(name)
            for sleeper in sleepers:
                sleeper.kill()
                sleeper.wait()


def _make_busy(node: running.RunningNode, pids: list[int]) -> None:
    node.call("start_process", gpu=0, pid=pids[0], name="train", memory_bytes=12 << 30)
    node.call("apply_load", gpu=0, percent=70, seconds=120)
    smi = str(node.driver_root / "usr/bin/nvidia-smi")
    for arguments in (
        ("-i", "1", "-mig", "1"),
        ("mig", "-i", "1", "-cgi", "9,19,19", "-C"),
        ("-i", "2", "-c", "EXCLUSIVE_PROCESS"),
        ("-i", "3", "-pl", "450"),
        ("-i", "3", "-pm", "1"),
    ):
        subprocess.run([smi, *arguments], check=True, capture_output=True, timeout=30)
    node.call(
        "start_process",
        gpu=1,
        pid=pids[1],
        name="serve",
        memory_bytes=3 << 30,
        gpu_instance=2,
        compute_instance=0,
    )
    node.call("start_process", gpu=2, pid=pids[2], name="alone", memory_bytes=5 << 30)
    last = node.call("snapshot")["gpus"][7]["pci"]
    node.call("unbind", function=last, driver="nvidia")


def mig_devices(gpu: dict[str, Any]) -> list[tuple[int, int, str]]:
    return sorted(
        (instance["id"], compute["id"], compute["uuid"])
        for instance in gpu["mig"]["gpu_instances"]
        for compute in instance["compute_instances"]
    )


def processes(gpu: dict[str, Any]) -> list[tuple[int, int]]:
    return sorted((process["pid"], process["memory_bytes"] // MIB) for process in gpu["processes"])


def busy_percent(gpu: dict[str, Any]) -> int | None:
    """A GPU in MIG mode does not tell how busy it is."""
    return None if gpu["mig"]["current"] else gpu["utilization_percent"]


def test_the_node_is_as_busy_as_the_others_assume(live: Live) -> None:
    assert len(live.gpus) == 7
    assert live.gpus[0]["utilization_percent"] == 70
    assert live.gpus[0]["temperature_celsius"] > live.gpus[4]["temperature_celsius"]
    assert [len(processes(gpu)) for gpu in live.gpus] == [1, 1, 1, 0, 0, 0, 0]
    assert len(mig_devices(live.gpus[1])) == 3


def test_pynvml_agrees_with_inspect(live: Live) -> None:
    found = live.python(
        """
        import pynvml as n
        n.nvmlInit()
        found = {"driver": n.nvmlSystemGetDriverVersion(), "cuda": n.nvmlSystemGetCudaDriverVersion(), "gpus": []}
        for index in range(n.nvmlDeviceGetCount()):
            h = n.nvmlDeviceGetHandleByIndex(index)
            memory = n.nvmlDeviceGetMemoryInfo(h, version=n.nvmlMemory_v2)
            try:
                busy = n.nvmlDeviceGetUtilizationRates(h).gpu
            except n.NVMLError_NotSupported:
                busy = None
            devices = []
            for place in range(n.nvmlDeviceGetMaxMigDeviceCount(h)):
                try:
                    device = n.nvmlDeviceGetMigDeviceHandleByIndex(h, place)
                except n.NVMLError_NotFound:
                    continue
                devices.append((n.nvmlDeviceGetGpuInstanceId(device), n.nvmlDeviceGetComputeInstanceId(device),
                                n.nvmlDeviceGetUUID(device)))
            found["gpus"].append({
                "name": n.nvmlDeviceGetName(h), "uuid": n.nvmlDeviceGetUUID(h), "serial": n.nvmlDeviceGetSerial(h),
                "minor": n.nvmlDeviceGetMinorNumber(h), "pci": n.nvmlDeviceGetPciInfo(h).busIdLegacy.lower(),
                "total": memory.total, "used": memory.used, "busy": busy,
                "celsius": n.nvmlDeviceGetTemperature(h, n.NVML_TEMPERATURE_GPU),
                "draw": n.nvmlDeviceGetPowerUsage(h), "limit": n.nvmlDeviceGetEnforcedPowerLimit(h),
                "clock": n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_GRAPHICS),
                "state": n.nvmlDeviceGetPerformanceState(h),
                "persistence": n.nvmlDeviceGetPersistenceMode(h), "mode": n.nvmlDeviceGetComputeMode(h),
                "mig": n.nvmlDeviceGetMigMode(h)[0], "devices": sorted(devices),
                "processes": sorted((p.pid, p.usedGpuMemory >> 20) for p in n.nvmlDeviceGetComputeRunningProcesses(h)),
                "links": sum(n.nvmlDeviceGetNvLinkState(h, link) for link in range(18)),
            })
        """
    )
    assert (found["driver"], found["cuda"]) == (live.told["driver_version"], live.told["cuda_driver_version"])
    modes = {"default": 0, "prohibited": 2, "exclusive_process": 3}
    assert found["gpus"] == [
        {
            "name": gpu["product_name"],
            "uuid": gpu["uuid"],
            "serial": gpu["serial"],
            "minor": gpu["minor"],
            "pci": gpu["pci"],
            "total": gpu["memory_total_bytes"],
            "used": gpu["memory_used_bytes"],
            "busy": busy_percent(gpu),
            "celsius": gpu["temperature_celsius"],
            "draw": gpu["power_milliwatts"],
            "limit": gpu["power_limit_milliwatts"],
            "clock": gpu["graphics_clock_mhz"],
            "state": gpu["performance_state"],
            "persistence": int(gpu["persistence_mode"]),
            "mode": modes[gpu["compute_mode"]],
            "mig": int(gpu["mig"]["current"]),
            "devices": [list(device) for device in mig_devices(gpu)],
            "processes": [list(process) for process in processes(gpu)],
            "links": gpu["nvlinks_active"],
        }
        for gpu in live.gpus
    ]


def test_gpustat_agrees_with_inspect(live: Live) -> None:
    found = json.loads(live.run(sys.executable, "-W", "ignore", "-m", "gpustat", "--json"))
    assert found["driver_version"] == live.told["driver_version"]
    assert [
        {**gpu, "processes": sorted((each["pid"], each["gpu_memory_usage"]) for each in gpu["processes"])}
        for gpu in found["gpus"]
    ] == [
        {
            "index": index,
            "uuid": gpu["uuid"],
            "name": gpu["product_name"],
            "temperature.gpu": gpu["temperature_celsius"],
            "fan.speed": None,
            "utilization.gpu": busy_percent(gpu),
            "utilization.enc": None if gpu["mig"]["current"] else 0,
            "utilization.dec": None if gpu["mig"]["current"] else 0,
            "power.draw": gpu["power_milliwatts"] // 1000,
            "enforced.power.limit": gpu["power_limit_milliwatts"] // 1000,
            "memory.used": gpu["memory_used_bytes"] // MIB,
            "memory.total": gpu["memory_total_bytes"] // MIB,
            "processes": processes(gpu),
        }
        for index, gpu in enumerate(live.gpus)
    ]


def test_nvitop_agrees_with_inspect(live: Live) -> None:
    found = live.python(
        """
        from nvitop import Device, NA
        def told(value): return None if value == NA else value
        found = [{
            "name": d.name(), "uuid": d.uuid(), "celsius": d.temperature(), "draw": d.power_usage(),
            "limit": d.power_limit(), "used": d.memory_used(), "total": d.memory_total(),
            "busy": told(d.gpu_utilization()), "persistence": d.persistence_mode(), "state": d.performance_state(),
            "mode": d.compute_mode(), "mig": d.mig_mode(), "clock": d.clocks().graphics,
            "devices": sorted((m.gpu_instance_id(), m.compute_instance_id(), m.uuid())
                              for m in d.mig_devices()),
            "processes": sorted((pid, p.gpu_memory() >> 20) for pid, p in d.processes().items()),
        } for d in Device.all()]
        """
    )
    modes = {"default": "Default", "exclusive_process": "Exclusive Process"}
    assert found == [
        {
            "name": gpu["product_name"],
            "uuid": gpu["uuid"],
            "celsius": gpu["temperature_celsius"],
            "draw": gpu["power_milliwatts"],
            "limit": gpu["power_limit_milliwatts"],
            "used": gpu["memory_used_bytes"],
            "total": gpu["memory_total_bytes"],
            "busy": busy_percent(gpu),
            "persistence": "Enabled" if gpu["persistence_mode"] else "Disabled",
            "state": f"P{gpu['performance_state']}",
            "mode": modes[gpu["compute_mode"]],
            "mig": "Enabled" if gpu["mig"]["current"] else "Disabled",
            "clock": gpu["graphics_clock_mhz"],
            "devices": [list(device) for device in mig_devices(gpu)],
            "processes": [list(process) for process in processes(gpu)],
        }
        for gpu in live.gpus
    ]


def test_nvidia_smi_agrees_with_inspect(live: Live) -> None:
    fields = (
        "index,name,uuid,serial,temperature.gpu,utilization.gpu,memory.used,memory.total,power.draw,power.limit,"
        "clocks.gr,pstate,persistence_mode,mig.mode.current"
    )
    said = live.run("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits")
    assert list(csv.reader(said.splitlines(), skipinitialspace=True)) == [
        [
            str(index),
            gpu["product_name"],
            gpu["uuid"],
            gpu["serial"],
            str(gpu["temperature_celsius"]),
            "[N/A]" if gpu["mig"]["current"] else str(gpu["utilization_percent"]),
            str(gpu["memory_used_bytes"] // MIB),
            str(gpu["memory_total_bytes"] // MIB),
            f"{gpu['power_milliwatts'] // 10 / 100:.2f}",
            f"{gpu['power_limit_milliwatts'] / 1000:.2f}",
            str(gpu["graphics_clock_mhz"]),
            f"P{gpu['performance_state']}",
            "Enabled" if gpu["persistence_mode"] else "Disabled",
            "Enabled" if gpu["mig"]["current"] else "Disabled",
        ]
        for index, gpu in enumerate(live.gpus)
    ]


def test_the_xml_log_agrees_with_inspect_on_processes_and_mig_devices(live: Live) -> None:
    log = ET.fromstring(live.run("nvidia-smi", "-q", "-x"))
    for element, gpu in zip(log.findall("gpu"), live.gpus, strict=True):
        assert element.get("id") == f"0000{gpu['pci']}".upper()
        assert [
            (int(each.findtext("gpu_instance_id", "")), int(each.findtext("compute_instance_id", "")))
            for each in element.findall("mig_devices/mig_device")
        ] == [(instance, compute) for instance, compute, _ in mig_devices(gpu)]
        assert [
            (int(each.findtext("pid", "")), int(each.findtext("used_memory", "").removesuffix(" MiB")))
            for each in element.findall("processes/process_info")
        ] == processes(gpu)
    listed = live.run("nvidia-smi", "-L")
    assert [line.partition("(UUID: ")[2].rstrip(")") for line in listed.splitlines()] == [
        uuid for gpu in live.gpus for uuid in (gpu["uuid"], *(device[2] for device in mig_devices(gpu)))
    ]
