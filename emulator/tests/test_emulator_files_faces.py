"""What the files say: the formats of kernel and driver, and agreement of every file with the model."""

from __future__ import annotations

import posixpath
import re
import struct
from itertools import pairwise
from pathlib import Path

import pytest
from pyfakefs.fake_filesystem_unittest import Patcher

from claimwright.emulator.errors import MountRefused
from claimwright.emulator.files import CharDevice, Dir, File, Link, Tree, faces, fake, procfs
from claimwright.emulator.files.dev import nodes
from claimwright.emulator.files.majors import Majors, free_majors
from claimwright.emulator.model import (
    FunctionKind,
    NodeModel,
    NodeState,
    build_node,
    load_node_profile,
    node_names,
)
from claimwright.emulator.model.operations import bus, gpus

GPU0 = "sys/devices/pci0000:50/0000:50:01.0/0000:51:00.0/0000:52:00.0/0000:53:00.0"
MACHINE = """Character devices:
  1 mem
 10 misc
136 pts
254 ndctl

Block devices:
  7 loop
"""


@pytest.fixture
def state() -> NodeState:
    return build_node(load_node_profile("hgx-h100"), "node-a")


@pytest.fixture
def tree(state: NodeState) -> Tree:
    return faces.host_root(state)


def said(tree: Tree, path: str) -> str:
    entry = tree[path]
    assert isinstance(entry, File)
    return entry.content.decode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vendor", "0x10de\n"),
        ("device", "0x2330\n"),
        ("subsystem_vendor", "0x10de\n"),
        ("subsystem_device", "0x16c1\n"),
        ("class", "0x030200\n"),
        ("revision", "0xa1\n"),
        ("numa_node", "0\n"),
        ("local_cpulist", "0-55,112-167\n"),
        ("modalias", "pci:v000010DEd00002330sv000010DEsd000016C1bc03sc02i00\n"),
        ("driver_override", "(null)\n"),
        ("current_link_speed", "32.0 GT/s PCIe\n"),
        ("current_link_width", "16\n"),
        ("power_state", "D0\n"),
    ],
)
def test_a_gpu_reads_in_sysfs_as_the_kernel_prints_it(tree: Tree, name: str, content: str) -> None:
    assert said(tree, f"{GPU0}/{name}") == content


def test_links_are_relative_as_the_kernels(tree: Tree) -> None:
    assert tree["sys/bus/pci/devices/0000:53:00.0"] == Link(f"../../../{GPU0.removeprefix('sys/')}")
    assert tree[f"{GPU0}/driver"] == Link("../../../../../../bus/pci/drivers/nvidia")
    assert tree[f"{GPU0}/iommu_group"] == Link("../../../../../../kernel/iommu_groups/16")
    assert tree["sys/bus/pci/drivers/nvidia/0000:53:00.0"] == Link(f"../../../../{GPU0.removeprefix('sys/')}")


@pytest.mark.parametrize("name", node_names())
def test_every_link_leads_to_something_in_the_tree(name: str) -> None:
    tree = faces.host_root(build_node(load_node_profile(name), "node-a"))
    places = set(tree) | {parent for path in tree for parent in _parents(path)}

    for path, entry in tree.items():
        if isinstance(entry, Link):
            assert posixpath.normpath(posixpath.join(posixpath.dirname(path), entry.target)) in places, path


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:length]) for length in range(1, len(parts))]


def test_every_function_has_three_hex_fields_on_each_resource_line(state: NodeState, tree: Tree) -> None:
    for function in state.functions:
        lines = said(tree, f"sys/devices/{'/'.join(function.path)}/resource").splitlines()
        assert len(lines) == (13 if function.secondary_bus is None else 17)
        assert all(re.fullmatch(r"0x[0-9a-f]{16} 0x[0-9a-f]{16} 0x[0-9a-f]{16}", line) for line in lines)


def test_the_bars_of_a_gpu_have_the_sizes_of_its_board(tree: Tree) -> None:
    rows = [
        [int(field, 16) for field in line.split()] for line in said(tree, f"{GPU0}/resource").splitlines()
    ]

    sizes = [end - start + 1 if end else 0 for start, end, _flags in rows[:6]]

    assert sizes == [16 << 20, 0, 128 << 30, 0, 32 << 20, 0]
    assert all(start % size == 0 for (start, _end, _flags), size in zip(rows, sizes, strict=False) if size)


def test_no_two_bars_of_a_node_overlap(state: NodeState) -> None:
    ranges = sorted((bar.start, bar.start + bar.size_bytes) for each in state.functions for bar in each.bars)

    assert all(end <= following for (_, end), (following, _) in pairwise(ranges))


def test_configuration_space_repeats_the_id_files_and_lists_the_pcie_capability(tree: Tree) -> None:
    entry = tree[f"{GPU0}/config"]
    assert isinstance(entry, File)

    vendor, device = struct.unpack_from("<HH", entry.content)
    status, capability = struct.unpack_from("<H", entry.content, 6)[0], entry.content[0x34]

    assert (vendor, device, len(entry.content)) == (0x10DE, 0x2330, 4096)
    assert status & 0x10
    assert entry.content[capability] == 0x10


def test_gpu_and_its_compute_nic_share_a_root_and_a_switch(state: NodeState) -> None:
    for gpu, nic in zip(state.gpus, state.nics[1:9], strict=True):
        assert state.function(gpu.pci).path[:3] == state.function(nic.pci).path[:3]
        assert gpu.numa_node == nic.numa_node


def test_every_function_is_alone_in_its_iommu_group(state: NodeState) -> None:
    groups = [present.iommu_group for present in state.bus.functions.values()]

    assert len(set(groups)) == len(groups)
    assert None not in groups


def test_the_information_file_has_the_labels_and_padding_of_the_driver(tree: Tree, state: NodeState) -> None:
    lines = said(tree, "proc/driver/nvidia/gpus/0000:53:00.0/information").splitlines()

    assert lines[0] == "Model: \t\t NVIDIA H100 80GB HBM3"
    assert f"GPU UUID: \t {state.gpus[0].uuid}" in lines
    assert "Bus Location: \t 0000:53:00.0" in lines
    assert lines[-1] == "GPU Excluded:\t No"


def test_capability_files_have_three_lines_and_the_mode_of_their_device(tree: Tree) -> None:
    config = tree["proc/driver/nvidia/capabilities/mig/config"]

    assert config == File(b"DeviceFileMinor: 1\nDeviceFileMode: 256\nDeviceFileModify: 1\n", 0o400)


@pytest.mark.parametrize(
    ("path", "minor"), [("gpu3/gi3/ci3/access", 439), ("gpu6/gi11/ci5/access", 918), ("config", 1)]
)
def test_mig_minors_follow_the_drivers_table(path: str, minor: int) -> None:
    assert f"{path} {minor}\n" in procfs.mig_minors()


def test_the_device_list_keeps_the_machines_lines_and_sorts_ours_in() -> None:
    listing = procfs.devices(MACHINE, Majors(), nvswitch=True)
    characters, _, blocks = listing.partition("\nBlock devices:\n")

    majors = [int(line.split()[0]) for line in characters.splitlines()[1:] if line]
    assert majors == sorted(majors)
    assert "  1 mem\n" in characters
    assert "195 nvidia\n" in characters
    assert re.search(r"^\d+ nvidia-caps-imex-channels$", characters, re.MULTILINE)
    assert blocks == "  7 loop\n"


def test_majors_avoid_those_of_the_machine() -> None:
    chosen = free_majors(MACHINE)

    mine = {chosen.uvm, chosen.caps, chosen.imex_channels, chosen.nvlink, chosen.nvswitch}
    assert len(mine) == 5
    assert not mine & {1, 10, 136, 254, 195}


def test_a_machine_with_a_real_driver_is_refused() -> None:
    with pytest.raises(MountRefused, match="real NVIDIA driver"):
        free_majors(MACHINE.replace(" 10 misc", "195 nvidia"))


def test_device_nodes_have_the_drivers_numbers(state: NodeState) -> None:
    found = nodes(state, Majors())

    assert found["dev/nvidia7"] == CharDevice(195, 7)
    assert found["dev/nvidiactl"] == CharDevice(195, 255)
    assert found["dev/nvidia-caps/nvidia-cap1"] == CharDevice(Majors().caps, 1, 0o400)


def test_a_lost_gpu_reads_all_ones_and_keeps_its_entries(state: NodeState) -> None:
    model = NodeModel(state)
    model.perform(gpus.lose, 0)

    tree = faces.host_root(model.snapshot())

    config = tree[f"{GPU0}/config"]
    assert isinstance(config, File)
    assert set(config.content) == {0xFF}
    assert "proc/driver/nvidia/gpus/0000:53:00.0/information" in tree


def test_a_gpu_on_another_driver_leaves_procfs_and_dev_and_shows_that_driver(state: NodeState) -> None:

    model = NodeModel(state)
    model.perform(bus.unbind, str(state.gpus[2].pci))

    tree = faces.host_root(model.snapshot())

    bdf = str(state.gpus[2].pci)
    assert not any(path.startswith(f"proc/driver/nvidia/gpus/{bdf}") for path in tree)
    assert "dev/nvidia2" not in tree
    assert "dev/nvidia3" in tree
    assert f"sys/bus/pci/drivers/nvidia/{bdf}" not in tree
    assert f"{'/'.join(('sys/devices', *state.function(state.gpus[2].pci).path))}/driver" not in tree


def test_the_single_gpu_node_has_no_nvswitch_files() -> None:
    tree = faces.host_root(build_node(load_node_profile("l4"), "node-a"))

    assert not any("nvswitch" in path for path in tree if path.startswith(("proc/", "dev/")))
    assert "nvidia-nvswitch" not in said(tree, "proc/devices")


def test_numa_files_agree_with_the_profile(tree: Tree) -> None:
    assert said(tree, "sys/devices/system/node/online") == "0-1\n"
    assert said(tree, "sys/devices/system/node/node1/distance") == "21 10\n"
    assert said(tree, "sys/devices/system/node/node1/cpulist") == "56-111,168-223\n"
    assert said(tree, "sys/devices/system/cpu/cpu0/topology/thread_siblings_list") == "0,112\n"
    assert said(tree, "sys/devices/system/cpu/cpu100/topology/physical_package_id") == "1\n"


def test_the_tree_stands_in_pyfakefs(tree: Tree) -> None:
    # Not the `fs` fixture: a reporter that writes when fixtures end must find the real file system.
    with Patcher() as patcher:
        assert patcher.fs is not None
        fake.create(patcher.fs, tree, "/host")

        device = Path("/host/sys/bus/pci/devices/0000:53:00.0")
        assert device.joinpath("vendor").read_text() == "0x10de\n"
        assert device.resolve() == Path("/host", GPU0)
        assert device.joinpath("driver").resolve().name == "nvidia"
        assert Path("/host/dev/nvidia0").is_char_device()
        assert Path("/host/proc/driver/nvidia/warnings").is_dir()


def test_trees_hold_only_relative_paths_and_known_entries(tree: Tree) -> None:
    assert not [path for path in tree if path.startswith("/") or ".." in path.split("/")]
    assert {type(entry) for entry in tree.values()} == {File, Link, Dir, CharDevice}


def test_functions_of_each_kind_have_the_class_of_their_kind(state: NodeState) -> None:
    classes = {function.kind: function.identity.class_code for function in state.functions}

    assert classes[FunctionKind.BRIDGE] == 0x060400
    assert classes[FunctionKind.NVSWITCH] == 0x068000
