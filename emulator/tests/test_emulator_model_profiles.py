"""Profiles as text: what ships is valid and agrees with captures, what is wrong is refused with its line."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from claimwright.emulator.model import (
    Board,
    NodeProfile,
    ProfileError,
    UnknownProfile,
    board_names,
    build_node,
    load_board,
    load_node_profile,
    node_names,
    parse_profile,
    read_node_profile,
)
from claimwright.emulator.model.catalogue import _texts

CAPTURE = Path(__file__).parents[3] / "shared/data/hardware/qx-h100.xml"


def board_text(name: str) -> str:
    return _texts("boards")[name].read_text(encoding="utf-8")


def node_text(name: str) -> str:
    return _texts("nodes")[name].read_text(encoding="utf-8")


@pytest.mark.parametrize("name", board_names())
def test_every_shipped_board_is_valid_and_named_as_its_file(name: str) -> None:
    assert load_board(name).key == name


@pytest.mark.parametrize("name", node_names())
def test_every_shipped_node_builds_and_is_named_as_its_file(name: str) -> None:
    profile = load_node_profile(name)

    state = build_node(profile, "node-a")

    assert profile.key == name
    assert len({gpu.uuid for gpu in state.gpus}) == len(state.gpus) > 0
    assert [gpu.pci for gpu in state.gpus] == sorted(gpu.pci for gpu in state.gpus)


@pytest.mark.parametrize(
    ("old", "new", "field", "said"),
    [
        ("reserved_mib: 480", "reserved_mib: 90000", "memory.reserved_mib", "leave nothing"),
        ("bar1_mib: 131072", "bar1_mib: 4096", "memory.bar1_mib", "no BAR"),
        ("default_watts: 700", "default_watts: 150", "power.default_watts", "outside 200..700"),
        (
            "idle_clocks: {graphics: 345",
            "idle_clocks: {graphics: 5000",
            "idle_clocks.graphics",
            "above max_clocks",
        ),
        (
            "highest: 1980, lowest: 345}",
            "highest: 90, lowest: 345}",
            "supported_clocks.0.highest",
            "lowest <= highest",
        ),
        ("- {index: 2, mib: 131072}", "- {index: 1, mib: 131072}", "pci.bars.1", "register 1"),
        ("gpu: 2330-885-A1", "gpu: 1EB8-885-A1", "parts.gpu", "2330"),
        ("  - pci.bars", "  - pci.barz", "unverified.0", "names no field"),
        ("architecture: hopper", "architecture: hoper", "architecture", "hopper"),
        ('cuda_capability: "9.0"', "cuda_capability: nine", "cuda_capability", "valid array"),
        ("mig_capable: true", "mig_capable: perhaps", "mig_capable", "boolean"),
        ("brand: nvidia", "brand: nvidia\nbrant: x", "brant", "unknown key"),
    ],
)
def test_a_wrong_board_is_refused_with_its_line_and_field(old: str, new: str, field: str, said: str) -> None:
    text = board_text("h100-sxm5-80")
    assert old in text

    with pytest.raises(ProfileError) as refused:
        parse_profile(Board, text.replace(old, new, 1), "mine.yaml")

    message = str(refused.value)
    line = text[: text.index(old)].count("\n") + 1 + new.count("\n")
    assert f"mine.yaml:{line}: {field}:" in message
    assert said in message


@pytest.mark.parametrize(
    ("old", "new", "field", "said"),
    [
        ("numa: 0\n    tree:", "numa: 7\n    tree:", "pcie.0.numa", "no NUMA node 7"),
        ("distances: [10, 21]}", "distances: [10]}", "numa.0.distances", "1 distances for 2 nodes"),
        ("distances: [10, 21]}", "distances: [11, 21]}", "numa.0.distances", "SLIT"),
        ('cpus: "56-111,168-223"', 'cpus: "55-111"', "numa.1.cpus", "CPU 55 belongs to node 0"),
        ("module_id: 5", "module_id: 7", "pcie", "module_id 7 is given to two"),
        (
            "links_per_switch: [5, 4, 4, 5]",
            "links_per_switch: [9, 9]",
            "nvlink.links_per_switch",
            "2 entries for 4",
        ),
        ("- {id: 1,", "- {id: 3,", "numa.1.id", "without holes"),
        ('- root: "0000:61"', '- root: "0000:50"', "pcie.3.root", "bus 0000:50 is opened twice"),
        ("        64:00.0 h100", "        53:00.0 h100", "pcie.3.tree", "bus 0000:53 must be new"),
        ("54:00.0 cx7-ib: {name: mlx5_0}", "54:00.0 cx7-ib: {nome: mlx5_0}", "nome", "unknown key"),
        ("54:00.0 cx7-ib: {name: mlx5_0}", "54:00.0 cx7-ib: 3", "54:00.0 cx7-ib", "settings"),
        ("mlx5_1}", "mlx5_0}", "pcie", "two nics are named 'mlx5_0'"),
        ("physical_id: 1", "physical_id: 0", "pcie", "physical_id 0 is given to two"),
        ("52:00.0 switch:", "52:00.0 swich:", "swich", "not listed under devices"),
        ("52:00.0 switch:", "5G:00.0 switch:", "5G:00.0 switch", "expected `ADDRESS DEVICE`"),
        (
            "53:00.0 h100-sxm5-80: {module_id: 7}",
            "53:00.0 switch:",
            "53:00.0 switch",
            "needs something behind",
        ),
        ("unverified: [numa,", "unverified: [nume,", "unverified.0", "names no field"),
    ],
)
def test_a_wrong_node_is_refused_by_field(old: str, new: str, field: str, said: str) -> None:
    text = node_text("hgx-h100")
    assert old in text

    with pytest.raises(ProfileError) as refused:
        parse_profile(NodeProfile, text.replace(old, new, 1), "mine.yaml")

    assert "mine.yaml:" in str(refused.value)
    assert field in str(refused.value)
    assert said in str(refused.value)


def test_links_that_do_not_add_up_to_the_board_are_refused() -> None:
    text = node_text("hgx-h100").replace("[5, 4, 4, 5]", "[5, 5, 5, 5]")

    with pytest.raises(ProfileError, match="wires 20 links per GPU, board h100-sxm5-80 has 18"):
        build_node(parse_profile(NodeProfile, text, "mine.yaml"), "node-a")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "mine.yaml:1: the profile is empty"),
        ("a: 1\nb: [", "not YAML"),
        ("key: x\nkey: y", "mine.yaml:2: 'key' is given twice"),
        ("just words", "mine.yaml:1"),
        ("- 1\n- 2", "mine.yaml:1"),
        ("when: 2026-01-01", "mine.yaml:1: when"),
        ("? [a, b]\n: 1", "mine.yaml:1: a key must be a word"),
        ("a: &a [*a]", "mine.yaml:1: nested too deep"),
        (
            "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]" for n in range(1, 9))]),
            "too long",
        ),
    ],
)
def test_rubbish_is_refused_as_a_profile(text: str, said: str) -> None:
    with pytest.raises(ProfileError) as refused:
        parse_profile(Board, text, "mine.yaml")

    assert said in str(refused.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_a_profile_that_cannot_be_read_says_why(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ProfileError, match=r"mine\.yaml: cannot be read"):
        read_node_profile(path)


@pytest.mark.parametrize(("name", "near"), [("hgx-h10", "hgx-h100"), ("H100", "hgx-h100"), ("l5", "l4")])
def test_an_unknown_profile_names_the_closest_and_all_known(name: str, near: str) -> None:
    with pytest.raises(UnknownProfile) as refused:
        load_node_profile(name)

    assert f"did you mean {near!r}" in str(refused.value)
    assert all(known in str(refused.value) for known in node_names())


@pytest.mark.parametrize("name", ["", "Node", "a/b", "-x", "x" * 64, "..", "a_b"])
def test_a_node_name_that_is_no_dns_label_is_refused(name: str) -> None:
    with pytest.raises(ProfileError, match="no node name"):
        build_node(load_node_profile("l4"), name)


def test_two_boots_of_a_node_agree_and_two_nodes_differ() -> None:
    profile = load_node_profile("hgx-h100")

    first, again, other = (build_node(profile, name) for name in ("a", "a", "b"))

    assert [(gpu.uuid, gpu.serial) for gpu in first.gpus] == [(gpu.uuid, gpu.serial) for gpu in again.gpus]
    assert not {gpu.uuid for gpu in first.gpus} & {gpu.uuid for gpu in other.gpus}
    assert not {gpu.serial for gpu in first.gpus} & {gpu.serial for gpu in other.gpus}


@pytest.mark.skipif(not CAPTURE.exists(), reason="no capture of a real HGX H100 beside this checkout")
def test_the_hgx_h100_agrees_with_a_captured_machine() -> None:
    captured = ET.parse(CAPTURE).getroot().findall("gpu")
    state = build_node(load_node_profile("hgx-h100"), "node-a")

    for real, gpu in zip(captured, state.gpus, strict=True):
        board = gpu.board
        mine = {
            "product_name": board.name,
            "product_architecture": board.architecture.name.capitalize(),
            "minor_number": str(gpu.minor),
            "vbios_version": board.parts.vbios,
            "board_id": f"{gpu.board_id:#x}",
            "gpu_part_number": board.parts.gpu,
            "platformInfo/module_id": str(gpu.module_id),
            "inforom_version/img_version": board.parts.inforom_image,
            "inforom_version/ecc_object": board.parts.inforom_ecc,
            "addressing_mode": board.addressing_mode.name if board.addressing_mode is not None else "None",
            "pci/pci_bus_id": gpu.pci.nvml,
            "pci/pci_device_id": f"{board.pci.nvml_device_id:08X}",
            "pci/pci_sub_system_id": f"{board.pci.nvml_subsystem_id:08X}",
            "pci/pci_gpu_link_info/pcie_gen/max_link_gen": str(board.pci.link_generation),
            "fb_memory_usage/total": f"{board.memory.total_mib} MiB",
            "fb_memory_usage/reserved": f"{board.memory.reserved_mib} MiB",
            "bar1_memory_usage/total": f"{board.memory.bar1_mib} MiB",
            "performance_state": f"P{gpu.performance_state}",
            "remapped_rows/row_remapper_histogram/row_remapper_histogram_max": (
                f"{board.memory.remap_banks} bank(s)"
            ),
            "gpu_power_readings/default_power_limit": f"{board.power.default_watts}.00 W",
            "gpu_power_readings/min_power_limit": f"{board.power.min_watts}.00 W",
            "gpu_power_readings/max_power_limit": f"{board.power.max_watts}.00 W",
            "temperature/gpu_temp_max_tlimit_threshold": f"{board.thermals.tlimits.shutdown} C"
            if board.thermals.tlimits
            else "N/A",
            "temperature/gpu_temp_slow_tlimit_threshold": f"{board.thermals.tlimits.slowdown} C"
            if board.thermals.tlimits
            else "N/A",
            "clocks/graphics_clock": f"{gpu.clocks.graphics} MHz",
            "clocks/mem_clock": f"{gpu.clocks.memory} MHz",
            "max_clocks/sm_clock": f"{board.max_clocks.sm} MHz",
            "max_clocks/video_clock": f"{board.max_clocks.video} MHz",
            "fabric/state": gpu.fabric.state.name.capitalize() if gpu.fabric else "N/A",
            "fabric/clusterUuid": gpu.fabric.cluster_uuid if gpu.fabric else "N/A",
        }
        assert mine == {path: real.findtext(path) for path in mine}


@pytest.mark.skipif(not CAPTURE.exists(), reason="no capture of a real HGX H100 beside this checkout")
def test_the_supported_clocks_agree_with_a_captured_machine() -> None:
    real = ET.parse(CAPTURE).getroot().find("gpu/supported_clocks")
    assert real is not None

    captured = {
        int(str(memory.findtext("value")).split()[0]): [
            int(str(clock.text).split()[0]) for clock in memory.findall("supported_graphics_clock")
        ]
        for memory in real.findall("supported_mem_clock")
    }

    board = load_board("h100-sxm5-80")
    assert {step.memory: list(step.graphics) for step in board.supported_clocks} == captured
