"""The catalogue of boards and nodes: complete, honest about what no source confirms, and closed to contradictions."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimwright.emulator.errors import EmulatorError
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
)
from claimwright.emulator.model.catalogue import _texts

BOARDS = {
    "Tesla T4": 0x1EB8,
    "NVIDIA A10": 0x2236,
    "NVIDIA A30": 0x20B7,
    "NVIDIA A100-SXM4-40GB": 0x20B0,
    "NVIDIA A100-SXM4-80GB": 0x20B2,
    "NVIDIA A100-PCIE-40GB": 0x20F1,
    "NVIDIA A100 80GB PCIe": 0x20B5,
    "NVIDIA L4": 0x27B8,
    "NVIDIA L40S": 0x26B9,
    "NVIDIA H100 80GB HBM3": 0x2330,
    "NVIDIA H100 PCIe": 0x2331,
    "NVIDIA H100 NVL": 0x2321,
    "NVIDIA H200": 0x2335,
    "NVIDIA GH200 480GB": 0x2342,
    "NVIDIA GH200 144G HBM3e": 0x2348,
    "NVIDIA B200": 0x2901,
    "NVIDIA B300 SXM6 AC": 0x3182,
    "NVIDIA GB200": 0x2941,
    "NVIDIA GB300": 0x31C2,
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": 0x2BB5,
}
"""NVML names and device ids, as in the device table of the open kernel modules, 595.45.04."""

NODES = {
    "dgx-a100": (8, "a100-sxm4-40"),
    "hgx-h100": (8, "h100-sxm5-80"),
    "hgx-h200": (8, "h200-sxm"),
    "hgx-b200": (8, "b200"),
    "hgx-b300": (8, "b300"),
    "gb200-tray": (4, "gb200"),
    "gb300-tray": (4, "gb300"),
    "gh200": (1, "gh200-96"),
    "t4": (1, "t4"),
    "a10": (1, "a10"),
    "a30": (1, "a30"),
    "l4": (1, "l4"),
    "l40s": (1, "l40s"),
    "rtx-pro-6000": (1, "rtx-pro-6000-bse"),
}

_GUESSED = (
    "memory.reserved_mib",
    "memory.bar1_mib",
    "power.min_watts",
    "power.default_watts",
    "max_clocks.sm",
)
_ALL_GUESSED = (*_GUESSED, "memory.total_mib")
UNCONFIRMED = {
    "a10": (*_ALL_GUESSED, "engines.encoders"),
    "a30": (*_GUESSED, "nvlink.links"),
    "a100-sxm4-80": _GUESSED,
    "a100-pcie-40": (*_GUESSED, "nvlink.links"),
    "a100-pcie-80": (*_GUESSED, "nvlink.links"),
    "l4": (*_ALL_GUESSED, "engines.encoders"),
    "l40s": ("engines.encoders",),
    "t4": ("engines.encoders",),
    "h100-pcie": (*_ALL_GUESSED, "nvlink.links"),
    "h100-nvl": (*_ALL_GUESSED, "nvlink.links"),
    "h200-sxm": _ALL_GUESSED,
    "gh200-96": _ALL_GUESSED,
    "gh200-144": _ALL_GUESSED,
    "b300": (*_ALL_GUESSED, "pci.link_generation", "engines.multiprocessors", "engines.copy_engines"),
    "gb200": ("engines.multiprocessors", "engines.copy_engines"),
    "gb300": ("engines.multiprocessors", "engines.copy_engines"),
    "rtx-pro-6000-bse": _ALL_GUESSED,
}
"""What the hardware notes mark with a question mark, or leave open."""


def text_of(folder: str, name: str) -> str:
    return _texts(folder)[name].read_text(encoding="utf-8")


def test_every_board_has_the_name_and_device_id_that_the_kernel_modules_list() -> None:
    assert {load_board(key).name: load_board(key).pci.device for key in board_names()} == BOARDS


@pytest.mark.parametrize(("name", "made_of"), NODES.items())
def test_every_named_node_has_its_boards(name: str, made_of: tuple[int, str]) -> None:
    boards = [gpu.board.key for gpu in build_node(load_node_profile(name), "a").gpus]

    assert boards == [made_of[1]] * made_of[0]


def test_a_mix_has_different_boards_and_an_unknown_node_does_not_boot() -> None:
    assert len({gpu.board.key for gpu in build_node(load_node_profile("mixed"), "a").gpus}) == 3
    with pytest.raises(UnknownProfile, match="'hgx-h900'"):
        load_node_profile("hgx-h900")


@pytest.mark.capability("003-15")
@pytest.mark.parametrize("name", board_names())
def test_every_board_boots_alone(name: str) -> None:
    profile = load_node_profile(name)

    (gpu,) = build_node(profile, "a").gpus

    assert (profile.key, gpu.board.key) == (name, name)


@pytest.mark.parametrize(("name", "fields"), UNCONFIRMED.items())
def test_what_no_source_confirms_is_listed_as_unverified(name: str, fields: tuple[str, ...]) -> None:
    said = load_board(name).unverified

    unsaid = [field for field in fields if not any(f"{field}.".startswith(f"{path}.") for path in said)]

    assert unsaid == []


@pytest.mark.parametrize("name", node_names())
def test_a_node_says_which_of_its_wiring_is_a_guess(name: str) -> None:
    assert set(load_node_profile(name).unverified) & {"numa", "pcie"}


@pytest.mark.parametrize(
    ("board", "old", "new", "field", "said"),
    [
        ("t4", "mig_capable: false", "mig_capable: true", "mig_capable", "MIG came with Ampere"),
        ("t4", 'cuda_capability: "7.5"', 'cuda_capability: "9.0"', "cuda_capability", "not of the turing"),
        (
            "t4",
            "page_retirement: true",
            "page_retirement: true, remap_banks: 4",
            "memory.page_retirement",
            "retires no",
        ),
        ("l4", "mig_capable: false", "mig_capable: true", "mig_capable", "needs a `mig:` section"),
        (
            "l4",
            "addressing_mode: hmm",
            "addressing_mode: ats",
            "addressing_mode",
            "coherent_memory, which is false",
        ),
        (
            "l4",
            "addressing_mode: hmm",
            "addressing_mode: hmm\nc2c: enabled",
            "c2c",
            "coherent_memory, which is false",
        ),
        (
            "l4",
            "mig_capable: false",
            "mig_capable: false\nfabric_capable: true",
            "fabric_capable",
            "without nvlink cannot join",
        ),
        ("l4", "memory: 405, highest", "memory: 7000, highest", "supported_clocks", "highest first"),
        ("l4", "{index: 3, mib: 32}", "{index: 3, mib: 33}", "pci.bars.2", "no power of two"),
        ("l4", "class_code: 0x030200", "class_code: 0x020000", "pci.class_code", "is no GPU"),
        (
            "l4",
            "inforom_image: G193",
            "inforom_image: G133",
            "parts.inforom_image",
            "does not begin with a design",
        ),
        ("l4", "shutdown: -5", "shutdown: 5", "thermals.tlimits", "expected shutdown <= slowdown"),
        ("l4", "idle_watts: 12.0", "idle_watts: 90.0", "power.idle_watts", "exceed the default limit"),
        ("a30", "mig_capable: true", "mig_capable: false", "mig", "nothing to cut"),
        (
            "a30",
            "memory_mib: 5952",
            "memory_mib: 9000",
            "mig.gpu_instances.0.memory_mib",
            "more than the board's",
        ),
        ("gb200", "max_watts: 2500}", "max_watts: 900}", "power.module", "watts"),
        ("gb200", "c2c: enabled", "c2c: disabled", "c2c", "coherent_memory, which is true"),
    ],
)
def test_a_board_that_contradicts_itself_is_refused_by_the_field(
    board: str, old: str, new: str, field: str, said: str
) -> None:
    text = text_of("boards", board)
    assert old in text

    with pytest.raises(ProfileError) as refused:
        parse_profile(Board, text.replace(old, new, 1), "mine.yaml")

    assert f": {field}" in str(refused.value)
    assert "mine.yaml:" in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("node", "old", "new", "said"),
    [
        ("l4", "unverified:", "nvlink: {elsewhere: 18}\nunverified:", "nvlink: none of l4 has NVLink"),
        ("l4", "unverified:", "fabric_manager: {}\nunverified:", "fabric_manager: none of l4 has NVLink"),
        ("l4", "unverified:", "tray: {host_id: 1}\nunverified:", "tray: none of l4 is fabric_capable"),
        ("l4", "unverified:", "tray: {host_id: 256}\nunverified:", "tray.host_id: Input should be less"),
        (
            "l4",
            "41:00.0 l4:",
            "41:00.0 l4: {link_width: 32}",
            "link_width 32: expected 1, 2, 4, … up to l4's 16",
        ),
        ("l4", "41:00.0 l4:", "41:00.0 l4: {link_width: 3}", "link_width 3: expected"),
        ("l4", "41:00.0 l4:", "41:00.1 l4:", "a board is function 0"),
        ("l4", "41:00.0 l4:", "41:00.0 l5:", "there is no board 'l5'; did you mean 'l4'?"),
        ("l4", '"0-31"', '"31-0"', "numa.0.cpus: 31-0 runs backwards"),
        ("l4", '"0-31"', '"0-99999999"', "numa.0.cpus: 0-99999999: a kernel has at most 8192"),
        ("l4", '"0-31"', '""', "numa: no node has a CPU"),
        ("l4", "distances: [10]", "distances: [9]", "numa.0.distances"),
        ("gh200", "gpu_memory_nodes: {per_gpu: 8, near: 80, far: 120, between: 255}", "", "gpu_memory_nodes"),
        (
            "every-mode",
            "machine: {",
            "machine: {virtualization: pass_through, ",
            "vgpu_manager: GPUs that were passed",
        ),
        ("gb200-tray", "elsewhere: 18", "elsewhere: 17", "wires 17 links per GPU, board gb200 has 18"),
    ],
)
def test_a_node_that_contradicts_itself_or_its_boards_is_refused_by_the_field(
    node: str, old: str, new: str, said: str
) -> None:
    text = text_of("nodes", node)
    assert old in text

    with pytest.raises(EmulatorError) as refused:
        build_node(parse_profile(NodeProfile, text.replace(old, new, 1), "mine.yaml"), "a")

    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ("{key: mine, like: l5, differs: {}}", "there is no board 'l5'; did you mean 'l4'?"),
        ("{key: mine, like: l4, differs: {nome: x}}", "nome: unknown key"),
        (
            "{key: mine, like: l4, differs: {name.first: x}}",
            "'name.first' names no field: 'name' has no parts",
        ),
        (
            "{key: mine, like: l4, differs: {memory.total_mib: 12}}",
            "memory.reserved_mib: 470 MiB reserved of 12 MiB",
        ),
        ("{key: Mine, like: l4, differs: {}}", "boards.0.key"),
    ],
)
def test_a_variant_of_a_board_is_checked_as_a_board_is(variant: str, said: str) -> None:
    text = f"{text_of('nodes', 'l4').replace('41:00.0 l4:', '41:00.0 mine:')}\nboards: [{variant}]\n"

    with pytest.raises(EmulatorError) as refused:
        build_node(parse_profile(NodeProfile, text, "mine.yaml"), "a")

    assert said in str(refused.value)


@pytest.mark.slow
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["l4", "t4", "gh200", "rtx-pro-6000"]),
    st.integers(0, 2000),
    st.integers(0, 12),
    st.sampled_from(
        ["", "-1", "9" * 40, "[", "{}", "null", "true", "&a", "*a", ": ", "\n", "𝟙", "0x", "1e999", ".nan"]
    ),
)
def test_a_damaged_node_profile_builds_or_is_refused_and_nothing_else(
    name: str, at: int, cut: int, put: str
) -> None:
    text = text_of("nodes", name)
    at %= len(text)

    with contextlib.suppress(EmulatorError):
        build_node(parse_profile(NodeProfile, text[:at] + put + text[at + cut :], "mine.yaml"), "a")


@pytest.mark.slow
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["t4", "a30"]),
    st.integers(0, 3000),
    st.integers(0, 12),
    st.sampled_from(
        ["", "-1", "9" * 40, "[", "{}", "null", "true", "&a", "*a", ": ", "\n", "𝟙", "0x", "1e999", ".nan"]
    ),
)
def test_a_damaged_board_profile_is_read_or_refused_and_nothing_else(
    name: str, at: int, cut: int, put: str
) -> None:
    text = text_of("boards", name)
    at %= len(text)

    with contextlib.suppress(EmulatorError):
        parse_profile(Board, text[:at] + put + text[at + cut :], "mine.yaml")
