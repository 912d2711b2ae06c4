"""Captures: written, read, scrubbed, compared, booted again; and what is malformed is refused with its line."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimwright.emulator.captures import (
    Capture,
    CaptureError,
    clock_lists,
    parity,
    parse_capture,
    parse_smi_xml,
    profile_from,
    read_capture,
    record_node,
    scrub,
)
from claimwright.emulator.captures.board_leaves import board_leaves, differences
from claimwright.emulator.captures.boards import distance
from claimwright.emulator.captures.variants import variant_fields
from claimwright.emulator.commands import node
from claimwright.emulator.errors import EmulatorError
from claimwright.emulator.model import board_names, build_node, load_board, load_node_profile, node_names
from claimwright.emulator.model.catalogue import varied_board
from claimwright.emulator.running import down, load, up

REPORTS = Path(__file__).parents[3] / "shared/data/hardware"
BOARDS = {
    "t4": "t4",
    "a100": "a100-sxm4-40",
    "h100": "h100-sxm5-80",
    "b200": "b200",
    "gb200": "gb200",
}
captured = pytest.mark.skipif(not REPORTS.exists(), reason="no reports of real machines beside this checkout")

LEAVES = st.sampled_from(
    [
        "",
        "0",
        "-1",
        "9" * 30,
        "0x" + "f" * 40,
        "true",
        "10 10",
        "nowhere",
        "::1",
        "0000:41:00.0",
        "𝟙𝟚",
        "1:1-9/0",
    ]
)
PATHS = st.from_regex(r"[a-z0-9_]{1,8}(\.[a-z0-9_]{1,8}){0,3}", fullmatch=True)
VALUES = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=30)


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield
    CliRunner().invoke(node, ["down", "--all"])


@given(st.dictionaries(PATHS, VALUES))
def test_what_is_written_is_read_back(leaves: dict[str, str]) -> None:
    capture = Capture(leaves)

    assert parse_capture(capture.text(), "a.capture") == capture


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "expected 'claimwright capture 1'"),
        ("claimwright capture 2\n", 1, "expected 'claimwright capture 1'"),
        ("claimwright capture 1\ngpu.0.name NVIDIA L4\n", 2, "expected `path = value`"),
        ("claimwright capture 1\na = 1\n\n# words\na = 2\n", 5, "'a' is given twice"),
        ("claimwright capture 1\na..b = 1\n", 2, "no path of a leaf"),
        ("claimwright capture 1\na = \x1b[31m\n", 2, "control characters"),
    ],
)
def test_a_malformed_capture_is_refused_with_line_and_reason(text: str, line: int, said: str) -> None:
    with pytest.raises(CaptureError) as refused:
        parse_capture(text, "mine.capture")

    assert f"mine.capture:{line}: " in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<nvidia_smi_log><gpu></nvidia_smi_log>", "mine.xml:1: not XML"),
        ("<html/>", "expected nvidia_smi_log, found 'html'"),
        ("<nvidia_smi_log/>", "lists no gpu"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><nvidia_smi_log/>', "declares no entities"),
        (
            "<nvidia_smi_log><gpu><pci><pci_device_id>X</pci_device_id></pci></gpu></nvidia_smi_log>",
            "gpu 0: pci/pci_device_id: 'X' is not what belongs there",
        ),
    ],
)
def test_a_malformed_report_is_refused_with_its_reason(text: str, said: str) -> None:
    with pytest.raises(CaptureError) as refused:
        parse_smi_xml(text, "mine.xml")

    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("gpu.0.at", "nowhere", "nowhere"),
        ("gpu.0.pci.device", "0xzz", "'0xzz' is no number"),
        ("gpu.0.memory.total_mib", "much", "'much' is no number"),
        ("gpu.0.memory.total_mib", "9" * 30, "is no number"),
        ("gpu.0.supported_clocks", "fast", "2619:345-1980/15"),
        ("gpu.0.pci.bars", "0:much:32", "1:262144K:64p"),
        ("gpu.0.nvlink.ends", "0000:10:00.0", "0000:10:00.0=5"),
        ("driver.version", "new", "not like 580.126.20"),
        ("driver.cuda_version", "", "is no number"),
        ("numa.0.distances", "10 10", "expected 1 numbers"),
        ("pci.1.path", "0000:41:00.0", "does not begin with a root"),
        ("pci.1.path", "pci0000:40 0000:40:09.0 0000:41:00.0", "no captured bridge"),
        ("pci.0.class", "bridge", "'bridge' is no number"),
    ],
)
def test_a_capture_that_makes_no_sense_is_refused_with_line_leaf_and_reason(
    path: str, value: str, said: str
) -> None:
    text = Capture({**L4_CAPTURE, path: value}).text()
    line = next(at for at, each in enumerate(text.split("\n"), start=1) if each.startswith(f"{path} ="))

    with pytest.raises(CaptureError) as refused:
        profile_from(parse_capture(text, "mine.capture"), "mine")

    assert str(refused.value).startswith(f"mine.capture:{line}: {path}: ")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("gpu.0.memory.total_mib", "1", "470 MiB reserved of 1 MiB leave nothing"),
        ("pci.1.path", "pci0000:40 0000:40:01.1 0000:42:00.0", "no pci.N.path leads to 0000:41:00.0"),
        ("gpu.0.cuda_capability", "9.0", "9.0 is not of the ada architecture"),
        ("gpu.0.power.max_watts", "60", "72 W lies outside 40..60 W"),
    ],
)
def test_leaves_that_contradict_each_other_are_refused_at_their_gpu(path: str, value: str, said: str) -> None:
    text = Capture({**L4_CAPTURE, path: value}).text()

    with pytest.raises(CaptureError, match=r"^mine\.capture:\d+: gpu\.0\.at: ") as refused:
        profile_from(parse_capture(text, "mine.capture"), "mine")

    assert said in str(refused.value)


@pytest.mark.parametrize("path", ["gpu.0.at", "driver.version", "driver.cuda_version", "numa.0.memory_mib"])
def test_a_capture_without_a_leaf_that_a_profile_needs_is_refused_by_its_name(path: str) -> None:
    leaves = {each: value for each, value in L4_CAPTURE.items() if each != path}

    with pytest.raises(CaptureError, match=f"^mine.capture: {path}: not in the capture"):
        profile_from(Capture(leaves, "mine.capture"), "mine")


@pytest.mark.slow
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_mutated_capture_makes_a_node_or_is_refused_and_nothing_else(data: st.DataObject) -> None:
    leaves = dict(L4_CAPTURE)
    for path in data.draw(st.lists(st.sampled_from(sorted(leaves)), min_size=1, max_size=4, unique=True)):
        change = data.draw(st.one_of(LEAVES, VALUES, st.sampled_from(sorted(leaves.values())), st.none()))
        leaves.pop(path)
        if change is not None:
            leaves[data.draw(st.sampled_from([path, f"gpu.1.{path.rpartition('.')[2]}"]))] = change

    with contextlib.suppress(EmulatorError):
        build_node(profile_from(Capture(leaves), "mine"), "a")


@settings(deadline=None)
@given(
    st.integers(0, 10_000), st.binary(max_size=6), st.integers(0, 40), st.sampled_from(["capture", "report"])
)
def test_damaged_bytes_are_read_or_refused_with_the_name_of_their_file(
    at: int, put: bytes, cut: int, kind: str
) -> None:
    whole = (Capture(L4_CAPTURE).text() if kind == "capture" else REPORT).encode()
    at %= len(whole)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "mine")
        file.write_bytes(whole[:at] + put + whole[at + cut :])

        said = _refusal(file)

        assert said is None or said.startswith(str(file))


def _refusal(file: Path) -> str | None:
    try:
        read_capture(file)
    except CaptureError as error:
        return str(error)
    return None


REPORT = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
  <driver_version>580.126.20</driver_version>
  <cuda_version>13.0</cuda_version>
  <gpu id="00000000:41:00.0">
    <product_name>NVIDIA L4</product_name>
    <product_architecture>Ada Lovelace</product_architecture>
    <pci><pci_bus_id>00000000:41:00.0</pci_bus_id><pci_device_id>27B810DE</pci_device_id></pci>
    <fb_memory_usage><total>23034 MiB</total></fb_memory_usage>
    <supported_clocks><supported_mem_clock><value>6251 MHz</value>
      <supported_graphics_clock>2040 MHz</supported_graphics_clock></supported_mem_clock></supported_clocks>
  </gpu>
</nvidia_smi_log>
"""


def relatives() -> list[str]:
    """Return the boards that have another board of their generation."""
    boards = [load_board(name) for name in board_names()]
    return [
        each.key
        for each in boards
        if any(other.architecture is each.architecture for other in boards if other is not each)
    ]


@pytest.mark.parametrize("untold", [(), ("pci.bars", "cuda_capability", "coherent_memory"), ("parts.gpu",)])
@pytest.mark.parametrize("name", relatives())
def test_a_board_that_the_catalogue_lacks_is_a_variant_of_a_relative(
    name: str, untold: tuple[str, ...]
) -> None:
    board = load_board(name)
    told = {path: value for path, value in board_leaves(board).items() if path not in untold}
    gpu = Capture({f"gpu.0.{path}": value for path, value in told.items()}).below("gpu.0")
    others = [load_board(other) for other in board_names() if other != name]
    base = min(
        (other for other in others if other.architecture is board.architecture),
        key=lambda each: distance(each, gpu),
    )

    variant = varied_board(base.key, "mine", variant_fields(base, gpu))

    assert differences(variant, told) == []
    assert variant.mig_capable is board.mig_capable


@pytest.mark.parametrize(
    "clocks", [{5001: [300, 405, 585]}, {2619: [345, 360, 375], 1593: [345]}, {3996: [120, 127, 135, 142]}]
)
def test_supported_clocks_of_any_spacing_are_recorded_whole(clocks: dict[int, list[int]]) -> None:
    leaf = clock_lists.written(clocks)

    fields = clock_lists.read(leaf)

    assert [field["memory"] for field in fields if isinstance(field, dict)] == sorted(clocks, reverse=True)
    assert clock_lists.written({}) == ""
    assert "300,405,585" in leaf or "/" in leaf


L4_CAPTURE = {
    "driver.version": "580.126.20",
    "driver.cuda_version": "13000",
    "gpu.0.at": "0000:41:00.0",
    "gpu.0.name": "NVIDIA L4",
    "gpu.0.architecture": "ada",
    "gpu.0.pci.device": "0x27b8",
    "gpu.0.memory.total_mib": "23034",
    "numa.0.cpus": "0-31",
    "numa.0.distances": "10",
    "numa.0.memory_mib": "1000",
    "pci.0.at": "0000:40:01.1",
    "pci.0.path": "pci0000:40 0000:40:01.1",
    "pci.0.vendor": "0x1022",
    "pci.0.device": "0x14ab",
    "pci.0.class": "0x060400",
    "pci.0.numa_node": "0",
    "pci.0.link_generation": "5",
    "pci.1.at": "0000:41:00.0",
    "pci.1.path": "pci0000:40 0000:40:01.1 0000:41:00.0",
    "pci.1.class": "0x030200",
}


def test_scrubbing_keeps_what_is_equal_equal_and_says_nothing_of_the_machine() -> None:
    uuids = ("GPU-a1b2c3d4-0001-0002-0003-00000000beef", "GPU-a1b2c3d4-0001-0002-0003-00000000cafe")
    capture = Capture(
        {
            "gpu.0.serial": "1652922000123",
            "gpu.1.serial": "1652922000123",
            "gpu.2.serial": "1652922000124",
            "gpu.0.uuid": uuids[0],
            "gpu.1.uuid": uuids[1],
            "nic.0.guid": "b83f:d203:00aa:bbcc",
            "nic.0.mac": "b8:3f:d2:aa:bb:cc",
            "gpu.0.fabric.cluster_uuid": "00000000-0000-0000-0000-000000000000",
            "gpu.0.name": "NVIDIA L4",
        }
    )

    scrubbed = scrub(capture)

    assert (
        scrubbed.leaves["gpu.0.serial"] == scrubbed.leaves["gpu.1.serial"] != scrubbed.leaves["gpu.2.serial"]
    )
    assert scrubbed.leaves["gpu.0.uuid"] != scrubbed.leaves["gpu.1.uuid"]
    assert scrubbed.leaves["gpu.0.name"] == "NVIDIA L4"
    assert scrubbed.leaves["gpu.0.fabric.cluster_uuid"] == "00000000-0000-0000-0000-000000000000"
    text = scrubbed.text()
    assert not any(secret in text for secret in ("beef", "cafe", "1652922", "d203", "3f:d2"))
    assert scrub(capture) == scrubbed == scrub(scrubbed)


@captured
@pytest.mark.parametrize(("report", "board"), BOARDS.items())
def test_a_board_profile_agrees_with_a_captured_machine_leaf_by_leaf(report: str, board: str) -> None:
    capture = read_capture(REPORTS / f"qx-{report}.xml")

    for gpu in capture.numbers("gpu"):
        told = capture.below(f"gpu.{gpu}")
        assert len(set(told) & set(board_leaves(load_board(board)))) >= 30
        assert set(differences(load_board(board), told)) <= {"parts.board"}  # a node may mix revisions


@captured
@pytest.mark.parametrize(("report", "board"), BOARDS.items())
def test_a_report_of_nvidia_smi_replays_with_the_boards_of_the_catalogue(report: str, board: str) -> None:
    capture = read_capture(REPORTS / f"qx-{report}.xml")

    state = build_node(profile_from(capture, "replayed"), "a")

    assert {gpu.board.key for gpu in state.gpus} == {board}
    assert [str(gpu.pci) for gpu in state.gpus] == [
        capture.leaves[f"gpu.{n}.at"] for n in capture.numbers("gpu")
    ]
    parts = [capture.leaves[f"gpu.{n}.parts.board"] for n in capture.numbers("gpu")]
    assert [gpu.board.parts.board for gpu in state.gpus] == parts
    assert "pcie" in state.unverified


@pytest.mark.slow
@captured
@pytest.mark.parametrize("report", BOARDS)
def test_a_replayed_report_tells_all_that_the_report_told(report: str, tmp_path: Path) -> None:
    replayed = CliRunner().invoke(node, ["replay", str(REPORTS / f"qx-{report}.xml"), "--name", "again"])
    recorded = CliRunner().invoke(node, ["record", "--node", "again", "-o", str(tmp_path / "again.capture")])

    score = parity(
        read_capture(REPORTS / f"qx-{report}.xml"), read_capture(tmp_path / "again.capture"), shared=True
    )

    assert (replayed.exit_code, recorded.exit_code) == (0, 0), replayed.output + recorded.output
    assert score.differences == ()
    assert score.compared >= 35


@captured
def test_gpus_that_share_a_carrier_share_a_serial_number_when_replayed() -> None:
    state = build_node(profile_from(read_capture(REPORTS / "qx-gb200.xml"), "tray"), "a")

    serials = [gpu.serial for gpu in state.gpus]

    assert serials[0] == serials[1] != serials[2] == serials[3]


@pytest.mark.slow
@pytest.mark.capability("003-15")
@pytest.mark.parametrize("name", node_names())
def test_recording_an_emulated_node_gives_its_profile_back(name: str) -> None:
    running = up(name, name="recorded", files="plain")

    profile = profile_from(record_node(running), name)

    down("recorded")
    assert profile.boards == ()
    expected, found = (build_node(each, "a") for each in (load_node_profile(name), profile))
    assert dataclasses.replace(found, title=expected.title, unverified=expected.unverified) == expected


@pytest.mark.slow
def test_a_machine_with_a_board_of_its_own_is_replayed_by_a_variant(tmp_path: Path) -> None:
    leaves = {**L4_CAPTURE, "gpu.0.memory.total_mib": "23000", "gpu.0.name": "NVIDIA L4 Special"}
    (tmp_path / "special.capture").write_text(Capture(leaves).text())

    result = CliRunner().invoke(node, ["replay", str(tmp_path / "special.capture")])

    assert result.exit_code == 0, result.output
    again = record_node(load("special"))
    assert again.leaves["gpu.0.name"] == "NVIDIA L4 Special"
    assert again.leaves["gpu.0.memory.total_mib"] == "23000"
    assert again.leaves["gpu.0.parts.vbios"] == load_board("l4").parts.vbios


@pytest.mark.slow
def test_a_machine_is_recorded_the_same_twice_and_not_at_all_with_a_lost_gpu(tmp_path: Path) -> None:
    running = up("l4x4", name="twice")
    first, second = record_node(running), record_node(running)
    running.call("lose", gpu=2)

    refused = CliRunner().invoke(node, ["record", "--node", "twice", "-o", str(tmp_path / "lost.capture")])

    assert first.text() == second.text()
    assert refused.exit_code == 2
    assert "GPU 2 does not answer NVML" in refused.output
    assert not (tmp_path / "lost.capture").exists()


def test_parity_counts_a_threshold_and_nothing_in_common_is_no_agreement(tmp_path: Path) -> None:
    one, other, none = (tmp_path / f"{name}.capture" for name in ("one", "other", "none"))
    one.write_text(Capture({"a": "1", "b": "1", "c": "1", "d": "1"}).text())
    other.write_text(Capture({"a": "1", "b": "1", "c": "1", "d": "2"}).text())
    none.write_text(Capture({"e": "1"}).text())

    def status(*words: object) -> int:
        return CliRunner().invoke(node, ["parity", *map(str, words)]).exit_code

    assert status(one, other, "--at-least", "75") == 0
    assert status(one, other, "--at-least", "75.1") == 1
    assert status(one, other) == 1
    assert status(one, none, "--shared") == 1
    assert status(one, none, "--at-least", "101") == 2


def test_record_replaces_plain_files_alone(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(REPORT)
    words = ["record", "--report", str(tmp_path / "report.xml"), "-o"]

    into_folder = CliRunner().invoke(node, [*words, str(tmp_path)])
    nowhere = CliRunner().invoke(node, [*words, str(tmp_path / "no" / "a.capture")])
    written = CliRunner().invoke(node, [*words, str(tmp_path / "a.capture")])

    assert (into_folder.exit_code, nowhere.exit_code, written.exit_code) == (2, 2, 0)
    assert "not a plain file" in into_folder.output
    assert "cannot be written: No such file or directory" in nowhere.output
    assert read_capture(tmp_path / "a.capture") == read_capture(tmp_path / "report.xml")


def test_parity_names_the_leaves_that_differ_and_counts_volatile_ones_apart(tmp_path: Path) -> None:
    first, second = tmp_path / "a.capture", tmp_path / "b.capture"
    first.write_text(Capture({**L4_CAPTURE, "gpu.0.reading.temperature": "30"}).text())
    changed = {**L4_CAPTURE, "gpu.0.name": "NVIDIA L5", "gpu.0.reading.temperature": "40"}
    second.write_text(Capture(changed).text())

    result = CliRunner().invoke(node, ["parity", str(first), str(second), "--json"])
    same = CliRunner().invoke(node, ["parity", str(first), str(first)])

    score = json.loads(result.output)
    assert [each["path"] for each in score["differences"]] == ["gpu.0.name"]
    assert [each["path"] for each in score["volatile"]] == ["gpu.0.reading.temperature"]
    assert score["compared"] == score["agreeing"] + 1 == len(L4_CAPTURE)
    assert (result.exit_code, same.exit_code) == (1, 0)
    assert "(100.00 %)" in same.output


@given(st.dictionaries(PATHS, VALUES), st.dictionaries(PATHS, VALUES))
def test_parity_compares_every_leaf_once_whatever_the_order(
    one: dict[str, str], other: dict[str, str]
) -> None:
    forth, back = parity(Capture(one), Capture(other)), parity(Capture(other), Capture(one))

    assert forth.compared == back.compared
    assert forth.agreeing == back.agreeing
    assert {each.path for each in forth.differences} == {each.path for each in back.differences}
    itself = parity(Capture(one), Capture(one))
    assert itself.agreeing == itself.compared
    assert itself.percent == (100 if itself.compared else 0)


@pytest.mark.parametrize("command", [["replay", "FILE"], ["parity", "FILE", "FILE"]])
@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"rubbish", b"<a>"])
def test_a_file_that_is_no_capture_ends_with_its_name_and_a_reason(
    tmp_path: Path, command: list[str], content: bytes | None
) -> None:
    file = tmp_path / "mine"
    if content is not None:
        file.write_bytes(content)

    result = CliRunner().invoke(node, [str(file) if word == "FILE" else word for word in command])

    assert result.exit_code == 2
    assert str(file) in result.output
    assert "Traceback" not in result.output


def test_a_machine_without_nvml_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "claimwright.emulator.captures.recording", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "no NVML answers here" in done.stderr
