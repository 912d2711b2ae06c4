"""Discovery: what NVML and sysfs say becomes devices; the memory doors behave as the real ones."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from claimwright.dra.plugin import LIST_ATTRIBUTES
from claimwright.dra.slices import Pool
from claimwright.driver.adapters import HostTree
from claimwright.driver.driver_root import DriverRoot
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.inventory import discover, pci_address, semantic_version
from claimwright.driver.layout import Layout
from claimwright.driver.ports import Host, Nvml, UnreadableGpu
from claimwright.driver.publishing import pool_of
from claimwright.driver.repertoire import recipes
from claimwright.driver.stock import Stock
from claimwright.driver.testing import (
    MemoryHost,
    MemoryNvml,
    build_stub_node,
    gpu_reading,
    hgx_h100_host,
    hgx_h100_nvml,
)

GOLDEN = {
    "name": "gpu-3",
    "attributes": {
        "type": {"string": "gpu"},
        "uuid": {"string": "GPU-00000000-0000-4000-8000-000000000003"},
        "productName": {"string": "NVIDIA H100 80GB HBM3"},
        "brand": {"string": "Nvidia"},
        "architecture": {"string": "Hopper"},
        "cudaComputeCapability": {"version": "9.0.0"},
        "driverVersion": {"version": "580.126.20"},
        "cudaDriverVersion": {"version": "13.0.0"},
        "addressingMode": {"string": "HMM"},
        "resource.kubernetes.io/pciBusID": {"string": "0000:61:00.0"},
        "resource.kubernetes.io/pcieRoot": {"string": "pci0000:59"},
        "resource.kubernetes.io/numaNode": {"int": 0},
    },
    "capacity": {"memory": {"value": "81559Mi"}},
}


def published(node: str, nvml: Nvml, host: Host, gates: str = "") -> Pool:
    return pool_of(node, Stock(recipes(FeatureGates.parse(gates)), discover(nvml, host)))


def device(nvml: MemoryNvml, host: Host, gates: str = "") -> dict[str, object]:
    return published("n", nvml, host, gates).devices[0].to_object()


@pytest.mark.capability("003-08")
@pytest.mark.capability("002-13")
@pytest.mark.capability("001-06")
def test_a_gpu_is_published_with_the_attributes_of_the_community_driver() -> None:
    pool = published("node-a", hgx_h100_nvml(), hgx_h100_host())

    assert pool.devices[3].to_object() == GOLDEN
    assert (pool.name, pool.node_name) == ("node-a", "node-a")


def test_devices_are_ordered_by_minor_number_whatever_nvml_says() -> None:
    nvml = MemoryNvml([gpu_reading(minor) for minor in (10, 2, 0)])

    pool = published("n", nvml, MemoryHost())

    assert [found.name for found in pool.devices] == ["gpu-0", "gpu-2", "gpu-10"]


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({"addressing_mode": None}, "addressingMode"),
        ({"addressing_mode": 77}, "addressingMode"),
    ],
)
def test_what_nvml_does_not_know_stays_out(change: dict[str, object], missing: str) -> None:
    attributes = device(MemoryNvml([gpu_reading(0, **change)]), hgx_h100_host())["attributes"]

    assert missing not in attributes


def test_a_gpu_without_memory_information_has_no_memory_capacity() -> None:
    assert "capacity" not in device(MemoryNvml([gpu_reading(0, memory_bytes=None)]), hgx_h100_host())


def test_without_sysfs_the_place_of_a_gpu_stays_out() -> None:
    attributes = device(MemoryNvml([gpu_reading(0)]), MemoryHost())["attributes"]

    assert {"resource.kubernetes.io/pcieRoot", "resource.kubernetes.io/numaNode"}.isdisjoint(attributes)


@pytest.mark.capability("000-15")
@pytest.mark.parametrize(
    ("text", "expected"), [("-1", None), ("0", {"int": 0}), ("3", {"int": 3}), ("x", None)]
)
def test_a_numa_node_is_published_when_the_kernel_knows_one(text: str, expected: object) -> None:
    host = MemoryHost(files={"/sys/bus/pci/devices/0000:1b:00.0/numa_node": text})

    attributes = device(MemoryNvml([gpu_reading(0)]), host)["attributes"]

    assert attributes.get("resource.kubernetes.io/numaNode") == expected


def test_the_numa_node_is_a_list_behind_its_gate() -> None:
    attributes = device(hgx_h100_nvml(), hgx_h100_host(), "DRAListTypeAttributes=true")["attributes"]

    assert attributes["resource.kubernetes.io/numaNode"] == {"ints": [0]}


@pytest.mark.parametrize(
    ("reading", "reason"),
    [
        (gpu_reading(0, name="DGX Display"), "display"),
        (gpu_reading(0, name="NVIDIA DGX Display"), "display"),
        (UnreadableGpu(0, "NVML: GPU is lost"), "GPU is lost"),
    ],
)
def test_a_gpu_that_cannot_be_offered_is_left_out_with_its_reason(reading: object, reason: str) -> None:
    inventory = discover(MemoryNvml([reading, gpu_reading(1)]), hgx_h100_host())  # type: ignore[list-item]

    assert [gpu.device_name for gpu in inventory.gpus] == ["gpu-1"]
    assert reason in inventory.left_out[0].reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("580.126.20", "580.126.20"),
        ("570.86.05", "570.86.5"),
        ("9.0", "9.0.0"),
        ("13", "13.0.0"),
        ("1.2.3.4", "1.2.3"),
    ],
)
def test_versions_are_coerced_to_three_numbers(text: str, expected: str) -> None:
    assert semantic_version(text) == expected


def test_a_driver_version_with_leading_zeros_is_published_coerced() -> None:
    nvml = MemoryNvml([gpu_reading(0)], driver_version="570.86.05")

    assert device(nvml, MemoryHost())["attributes"]["driverVersion"] == {"version": "570.86.5"}


def test_pci_addresses_are_as_sysfs_spells_them() -> None:
    assert pci_address("00000000:1B:00.0") == "0000:1b:00.0"
    assert pci_address("0000010A:1B:00.0") == "010a:1b:00.0"


def test_an_impossible_pci_address_stops_the_start_with_the_value() -> None:
    with pytest.raises(NodeUnusable, match="names PCI address 'rubbish'"):
        discover(MemoryNvml([gpu_reading(0, pci_bus_id="rubbish")]), MemoryHost())


def test_a_missing_library_names_the_root_and_what_was_searched(tmp_path: Path) -> None:
    root = DriverRoot.choose(PurePosixPath("/run/nvidia/driver"), tmp_path)

    with pytest.raises(
        NodeUnusable, match=r"libnvidia-ml\.so\.1 not found under driver root .*/usr/lib64, /usr/lib/"
    ):
        root.nvml_library()


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stub")


READ = """
import dataclasses, json, sys
from pathlib import Path
from claimwright.driver.adapters import NvmlLibrary, NvmlSession
library = NvmlLibrary(NvmlSession(lambda: Path(sys.argv[1])))
reading = library.read()
assert library.read() == reading, "it can be used again"
print(json.dumps(dataclasses.asdict(reading)))
"""


def read_in_a_process(library: Path) -> subprocess.CompletedProcess[str]:
    # pynvml keeps one library per process, so each test has its own.
    command = [sys.executable, "-W", "ignore", "-c", READ, str(library)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("definitions", "changes"),
    [
        ((), {}),
        (("NO_MEMORY", "GPUS=1"), {"memory_bytes": None}),
        (("NO_ADDRESSING_MODE", "GPUS=1"), {"addressing_mode": None}),
        (("MIG", "GPUS=2"), {"mig": {"enabled": True, "pending": True, "profiles": [], "partitions": []}}),
        (("GPUS=0",), {}),
    ],
    ids=["eight", "no memory", "old library", "mig", "no gpus"],
)
def test_the_library_and_the_memory_nvml_read_alike(
    tmp_path: Path, definitions: tuple[str, ...], changes: dict[str, object]
) -> None:
    library = (
        build_stub_node(tmp_path, *definitions).driver_root / "usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"
    )

    ended = read_in_a_process(library)

    assert ended.returncode == 0, ended.stderr
    read = json.loads(ended.stdout)
    expected = [gpu_reading(minor, **changes) for minor in range(len(read["gpus"]))]
    assert read["driver_version"] == hgx_h100_nvml().driver_version
    assert [tuple(gpu["compute_capability"]) for gpu in read["gpus"]] == [(9, 0)] * len(expected)
    for gpu, wanted in zip(read["gpus"], expected, strict=True):
        assert gpu == json.loads(json.dumps(dataclasses.asdict(wanted)))


@pytest.mark.slow
def test_a_file_that_is_no_library_gives_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("not an ELF file")

    ended = read_in_a_process(tmp_path / "libnvidia-ml.so.1")

    assert "NodeUnusable: NVML library" in ended.stderr
    assert "cannot be loaded" in ended.stderr


@pytest.fixture(params=["memory", "tree"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    if request.param == "memory":
        return MemoryHost(
            files={"/sys/a/file": "text\n", "/sys/a/other": ""}, links={"/sys/a/link": "../../x/pci0000:64/y"}
        )
    (tmp_path / "sys/a").mkdir(parents=True)
    (tmp_path / "sys/a/file").write_text("text\n")
    (tmp_path / "sys/a/other").touch()
    (tmp_path / "sys/a/link").symlink_to("../../x/pci0000:64/y")
    return HostTree(tmp_path)


def test_hosts_answer_alike(host: Host) -> None:
    folder = PurePosixPath("/sys/a")

    assert host.read_text(folder / "file") == "text"
    assert host.read_text(folder / "missing") is None
    assert host.read_link(folder / "link") == "../../x/pci0000:64/y"
    assert host.read_link(folder / "file") is None
    assert list(host.links_in(folder)) == [("link", "../../x/pci0000:64/y")]
    assert list(host.links_in(folder / "missing")) == []
    assert host.entries(folder) == ("file", "link", "other")
    assert host.entries(folder / "missing") == ()
    assert host.kind(folder / "missing") is None
    assert (kind := host.kind(folder)) is not None
    assert kind.is_directory
    assert (kind := host.kind(folder / "file")) is not None
    assert not kind.is_character_device


def test_a_real_character_device_has_its_numbers() -> None:
    kind = HostTree(Path("/")).kind(PurePosixPath("/dev/null"))

    assert kind is not None
    assert (kind.is_character_device, kind.major, kind.minor) == (True, 1, 3)


def test_a_server_that_knows_no_lists_gets_the_single_value() -> None:
    stock = Stock(
        recipes(FeatureGates.parse("DRAListTypeAttributes=true")), discover(hgx_h100_nvml(), hgx_h100_host())
    )

    pool = pool_of("n", stock, layout=Layout().without([LIST_ATTRIBUTES]))

    assert pool.devices[0].attributes["resource.kubernetes.io/numaNode"] == 0
