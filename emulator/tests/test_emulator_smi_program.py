"""nvidia-smi as a program: its log, filters, selections, loops, topology, and what it refuses."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimwright.emulator.model import NodeModel, build_node, load_node_profile
from claimwright.emulator.model.operations import gpus, mig
from claimwright.emulator.nvml import DriverRoot, compose
from claimwright.emulator.nvml.server import serving

SECTIONS = [
    "MEMORY", "UTILIZATION", "ECC", "TEMPERATURE", "POWER", "CLOCK", "COMPUTE", "PIDS", "PERFORMANCE",
    "SUPPORTED_CLOCKS", "PAGE_RETIREMENT", "ACCOUNTING", "ENCODER_STATS", "SUPPORTED_GPU_TARGET_TEMP", "FBC_STATS",
    "ROW_REMAPPER", "RESET_STATUS", "GSP_FIRMWARE_VERSION", "POWER_SMOOTHING", "POWER_PROFILES",
]  # fmt: skip

RUBBISH = (
    ("--nonsense",),
    ("nonsense",),
    ("-x",),
    ("-d", "MEMORY"),
    ("-q", "-d"),
    ("-q", "-d", "NONSENSE"),
    ("-q", "-d", "MEMORY,"),
    ("-q", "-x", "-d", "MEMORY"),
    ("-q", "-L"),
    ("-q", "-q"),
    ("-L=1",),
    ("-i",),
    ("-l", "0"),
    ("-l", "x"),
    ("-lms", "0"),
    ("-l", "1", "-lms", "1"),
    ("-l", "1", "-pm", "1"),
    ("-pm", "2"),
    ("-pm", "1", "-c", "0"),
    ("-c", "9"),
    ("-c", "1"),
    ("-pl", "5"),
    ("-pl", "-5"),
    ("-pl", "x"),
    ("-e", "2"),
    ("-p", "3"),
    ("-lgc", "1,2,3"),
    ("-mig", "yes"),
    ("--format=csv",),
    ("--query-gpu=name",),
    ("--query-gpu=name", "--format=xml"),
    ("--query-gpu=name", "--format=csv,sometimes"),
    ("--query-gpu=", "--format=csv"),
    ("--query-gpu=name,,uuid", "--format=csv"),
    ("--query-compute-apps=uuid", "--format=csv"),
    ("--query-gpu=name", "--query-compute-apps=pid", "--format=csv"),
    ("topo",),
    ("topo", "-m", "-p"),
    ("topo", "-n", "6"),
    ("topo", "-c", "x"),
    ("nvlink",),
    ("nvlink", "-s", "-l", "99"),
    ("mig",),
    ("mig", "-cgi"),
    ("compute-policy",),
    ("compute-policy", "--set-timeslice=4"),
    ("drain", "-q"),
    ("drain", "-p", "here", "-q"),
    ("-f", "/nonexistent/folder/file"),
)


class Smi:
    """A served node and its nvidia-smi."""

    def __init__(self, root: DriverRoot, model: NodeModel) -> None:
        self.root = root
        self.model = model

    async def __call__(self, *arguments: str) -> tuple[int, str]:
        return await asyncio.to_thread(run, self.root.nvidia_smi, *arguments)


def run(program: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


def run_as_nobody(program: Path, *arguments: str) -> tuple[int, str]:
    """Run it as a user who is not the node's."""
    script = "import os, sys; os.setgid(65534); os.setuid(65534); os.execv(sys.argv[1], sys.argv[1:])"
    return run(Path(sys.executable), "-c", script, str(program), *arguments)


def node_root(folder: Path, model: NodeModel) -> DriverRoot:
    root = compose(folder / "driver-root", model.snapshot().driver_version)
    (root.path / "dev").mkdir()
    for name in ("nvidiactl", *(f"nvidia{gpu.minor}" for gpu in model.snapshot().gpus)):
        (root.path / "dev" / name).touch()
        (root.path / "dev" / name).chmod(0o666)
    return root


@pytest.fixture
async def smi(tmp_path: Path) -> AsyncIterator[Smi]:
    model = NodeModel(build_node(load_node_profile("hgx-h100"), "node"))
    root = node_root(tmp_path, model)
    async with serving(root.socket_path, model):
        yield Smi(root, model)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, as a real driver root is; pytest's own are private."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
async def public(open_folder: Path) -> AsyncIterator[Smi]:
    model = NodeModel(build_node(load_node_profile("hgx-h100"), "node"))
    root = node_root(open_folder, model)
    async with serving(root.socket_path, model):
        yield Smi(root, model)


@pytest.mark.parametrize("arguments", RUBBISH, ids=" ".join)
async def test_rubbish_is_refused_with_invalid_argument_and_a_reason(
    smi: Smi, arguments: tuple[str, ...]
) -> None:
    before = smi.model.snapshot()
    code, said = await smi(*arguments)
    assert code in {2, 3}  # 3: EXCLUSIVE_THREAD, which drivers no longer have
    assert said.strip()
    assert smi.model.snapshot() == before


@pytest.mark.parametrize("arguments", [("-L",), ("-q",), ("topo", "-m"), ("-pm", "1"), ()], ids=str)
async def test_an_unknown_gpu_is_named(smi: Smi, arguments: tuple[str, ...]) -> None:
    code, said = await smi(*arguments, "-i", "GPU-none")
    assert code == 6
    assert "GPU-none" in said


async def test_a_gpu_is_found_by_every_name_it_has(smi: Smi) -> None:
    gpu = smi.model.snapshot().gpus[2]
    expected = await smi("-i", "2", "-L")
    for name in (gpu.uuid, gpu.pci.nvml, str(gpu.pci), gpu.serial):
        assert await smi("-i", name, "-L") == expected


async def test_several_gpus_come_in_the_order_asked_for(smi: Smi) -> None:
    _, said = await smi("-i", "5,1", "--query-gpu=index", "--format=csv,noheader")
    assert said.split() == ["5", "1"]


async def test_log_and_xml_say_the_same_of_every_leaf(smi: Smi) -> None:
    smi.model.perform(gpus.start_process, 0, os.getpid(), "x", 3 << 30)
    _, text = await smi("-q", "-i", "0")
    _, xml = await smi("-q", "-x", "-i", "0")
    root = ET.fromstring(xml)
    assert root.tag == "nvidia_smi_log"
    assert '<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v13.dtd">' in xml
    gpu = root.find("gpu")
    assert gpu is not None
    for label, tag in {
        "Product Name": "product_name",
        "GPU UUID": "uuid",
        "VBIOS Version": "vbios_version",
        "Sub System Id": "pci/pci_sub_system_id",
        "SRAM Threshold Exceeded": "ecc_errors/aggregate/sram_threshold_exceeded",
        "GPU T.Limit Temp": "temperature/gpu_temp_tlimit",
        "Compute Mode": "compute_mode",
        "Process ID": "processes/process_info/pid",
        "Used GPU Memory": "processes/process_info/used_memory",
        "ClusterUUID": "fabric/clusterUuid",
    }.items():
        found = re.search(rf"^ +{re.escape(label)} +: (.*)$", text, re.MULTILINE)
        assert found, label
        assert found[1].removeprefix("0x") == gpu.findtext(tag), label


async def test_a_process_name_cannot_break_the_xml(smi: Smi) -> None:
    sleeper = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import signal; signal.pause()", '</process_name>&<"\x01'
    )
    try:
        smi.model.perform(gpus.start_process, 0, sleeper.pid, "x", 1 << 20)
        code, xml = await smi("-q", "-x", "-i", "0")
        assert code == 0
        assert ET.fromstring(xml).findtext("gpu/processes/process_info/pid") == str(sleeper.pid)
    finally:
        sleeper.kill()
        await sleeper.wait()


async def test_a_section_alone_is_part_of_the_whole_log(smi: Smi) -> None:
    def lines(said: str) -> list[str]:
        return [line for line in said.splitlines() if line.startswith("    ")]

    _, whole = await smi("-q", "-i", "0")
    for section in SECTIONS:
        code, said = await smi("-q", "-i", "0", "-d", section)
        assert code == 0
        assert lines(said), section
        if section not in {"SUPPORTED_CLOCKS", "ACCOUNTING", "SUPPORTED_GPU_TARGET_TEMP"}:
            assert set(lines(said)) < set(lines(whole)), section


async def test_leaves_follow_the_drivers_branch(tmp_path: Path) -> None:
    found = {}
    for version in ("570.148.08", "580.105.08", "595.91.07"):
        profile = load_node_profile("l4").model_copy(update={"driver_version": version})
        model = NodeModel(build_node(profile, "node"))
        root = node_root(tmp_path / version, model)
        async with serving(root.socket_path, model):
            _, xml = await asyncio.to_thread(run, root.nvidia_smi, "-q", "-x")
        found[version] = {element.tag for element in ET.fromstring(xml).iter()}
    old, middle, new = found.values()
    assert {"gpu_reset_status", "voltage"} <= old - middle
    assert {"pdi", "display_attached", "clocks_event_reasons_counters"} <= middle - old
    assert "edpp_multiplier" in new - middle


async def test_a_file_gets_what_the_terminal_would(smi: Smi, tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert await smi("-L", "-f", str(path)) == (0, "")
    assert path.read_text() == (await smi("-L"))[1]


async def test_a_lost_gpu_is_told_of_beside_the_others(smi: Smi) -> None:
    smi.model.perform(gpus.lose, 3)
    code, said = await smi("-L")
    assert code == 0
    assert "GPU3: GPU is lost" in said
    assert said.count("UUID") == 7
    code, said = await smi("-i", "3", "-L")
    assert code == 15
    assert "lost" in said


async def test_a_loop_ends_cleanly_when_it_is_interrupted(smi: Smi) -> None:
    process = await asyncio.create_subprocess_exec(
        smi.root.nvidia_smi,
        "--query-gpu=index",
        "--format=csv,noheader",
        "-lms",
        "20",
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    lines = [await asyncio.wait_for(process.stdout.readline(), 10) for _ in range(20)]
    process.send_signal(signal.SIGINT)
    rest, _ = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0
    assert [int(line) for line in (*lines, *rest.splitlines())] == [
        *range(8),
    ] * ((len(lines) + len(rest.splitlines())) // 8)


async def test_a_loop_ends_when_the_node_dies(tmp_path: Path) -> None:
    model = NodeModel(build_node(load_node_profile("l4"), "node"))
    root = node_root(tmp_path, model)
    async with serving(root.socket_path, model):
        process = await asyncio.create_subprocess_exec(
            root.nvidia_smi,
            "--query-gpu=index",
            "--format=csv,noheader",
            "-lms",
            "20",
            stdout=subprocess.PIPE,
        )
        assert process.stdout
        assert await asyncio.wait_for(process.stdout.readline(), 10) == b"0\n"
    said, _ = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode in {9, 15}
    assert b"driver" in said or b"lost" in said


async def test_a_reader_that_stops_ends_the_loop(smi: Smi) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-c", '"$0" -lms 10 -L | head -n 9 | wc -l', smi.root.nvidia_smi],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout.strip() == "9"


async def test_locks_ecc_and_counts_reach_the_model_and_a_reset_clears_them(smi: Smi) -> None:
    smi.model.perform(gpus.count_ecc_errors, 1, corrected=4)
    for arguments in (("-lgc", "1000,1500"), ("-e", "0"), ("-p", "0")):
        assert (await smi("-i", "1", *arguments))[0] == 0
    gpu = smi.model.snapshot().gpus[1]
    assert gpu.clock_lock is not None
    assert gpu.ecc is not None
    assert (gpu.ecc.pending, gpu.ecc.current, gpu.ecc.volatile.corrected) == (False, True, 0)
    assert (await smi("-i", "1", "-r"))[0] == 0
    gpu = smi.model.snapshot().gpus[1]
    assert gpu.clock_lock is None
    assert gpu.ecc is not None
    assert not gpu.ecc.current


@pytest.mark.parametrize(
    ("option", "on", "what"), [("-pm", "1", "ersistence mode"), ("-am", "ENABLED", "ccounting mode")]
)
async def test_a_switch_that_is_set_already_says_so(smi: Smi, option: str, on: str, what: str) -> None:
    first = await smi("-i", "0", option, on)
    again = await smi("-i", "0", option, on)
    off = await smi("-i", "0", option, "0")
    assert [code for code, _ in (first, again, off)] == [0, 0, 0]
    assert re.match(f"Enabled .{what} for GPU", first[1])
    assert re.match(f".{what} is already Enabled for GPU", again[1])
    assert re.match(f"Disabled .{what} for GPU", off[1])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
@pytest.mark.parametrize(
    "arguments",
    [
        ("-pm", "1"),
        ("-am", "1"),
        ("-c", "3"),
        ("-e", "0"),
        ("-p", "0"),
        ("-mig", "1"),
        ("-pl", "600"),
        ("-lgc", "1000,1500"),
        ("-r",),
        ("--gpu-reset",),
        ("mig", "-cgi", "9"),
        ("compute-policy", "--set-timeslice=1"),
    ],
    ids=" ".join,
)
async def test_only_an_administrator_changes_anything(public: Smi, arguments: tuple[str, ...]) -> None:
    public.model.perform(mig.set_mig_mode, 1, enabled=True)
    before = public.model.snapshot()
    verb = arguments[0] if not arguments[0].startswith("-") else ""
    asked = (
        *filter(None, (verb,)),
        "-i",
        "1" if verb == "mig" else "0",
        *(arguments[1:] if verb else arguments),
    )
    code, said = await asyncio.to_thread(run_as_nobody, public.root.nvidia_smi, *asked)
    assert code == 4, said
    assert "ermission" in said
    assert public.model.snapshot() == before
    shown, _ = await asyncio.to_thread(run_as_nobody, public.root.nvidia_smi, "-q")
    assert shown == 0


async def test_a_gpu_in_use_is_not_reset(smi: Smi) -> None:
    smi.model.perform(gpus.start_process, 1, 4242, "x", 1 << 20)
    code, said = await smi("-i", "1", "-r")
    assert code == 19
    assert "use" in said
    assert smi.model.snapshot().gpus[1].processes


async def test_processes_are_listed_alike_by_query_and_log(smi: Smi) -> None:
    smi.model.perform(gpus.start_process, 4, 4242, "x", 3 << 30)
    code, said = await smi(
        "--query-compute-apps=pid,used_memory,gpu_uuid,gpu_bus_id", "--format=csv,noheader,nounits"
    )
    gpu = smi.model.snapshot().gpus[4]
    assert (code, said.strip()) == (0, f"4242, 3072, {gpu.uuid}, {gpu.pci.nvml}")


async def test_each_query_explains_its_properties(smi: Smi) -> None:
    for name in ("compute-apps", "accounted-apps", "retired-pages", "supported-clocks", "remapped-rows"):
        code, said = await smi(f"--help-query-{name}")
        names = re.findall(r'"([^"]+)"', said)
        assert code == 0
        assert "gpu_uuid" in names
        assert (await smi(f"--query-{name}={','.join(names)}", "--format=csv"))[0] == 0


async def test_help_needs_no_node(tmp_path: Path) -> None:
    root = compose(tmp_path / "driver-root", "580.126.20")
    for arguments in (
        ("-h",),
        ("--help-query-gpu",),
        *((verb, "-h") for verb in ("topo", "nvlink", "mig", "drain")),
    ):
        code, said = await asyncio.to_thread(run, root.nvidia_smi, *arguments)
        assert code == 0
        assert len(said) > 100


async def test_a_missing_library_is_told_of(tmp_path: Path) -> None:
    alone = tmp_path / "bin/nvidia-smi"
    alone.parent.mkdir()
    alone.write_bytes(compose(tmp_path / "driver-root", "580.126.20").nvidia_smi.read_bytes())
    alone.chmod(0o755)
    code, said = await asyncio.to_thread(run, alone)
    assert code == 12
    assert "libnvidia-ml.so" in said


async def test_the_matrix_names_links_ports_and_cpus(smi: Smi) -> None:
    code, said = await smi("topo", "-m")
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in said.splitlines() if "\t" in line}
    assert code == 0
    assert rows["GPU0"][:3] == [" X ", "NV18", "NV18"]
    assert "0-55,112-167" in rows["GPU0"]
    assert "56-111,168-223" in rows["GPU7"]
    smi.model.perform(gpus.set_nvlink, 0, 4, active=False)
    _, said = await smi("topo", "-m", "-i", "0,1")
    assert "NV17" in said
    _, said = await smi("nvlink", "-s", "-i", "0")
    assert "Link 4: <inactive>" in said
    assert said.count("GB/s") == 17


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nvidia-smi of a driver root whose node does not run."""
    return compose(tmp_path_factory.mktemp("lonely") / "driver-root", "580.126.20").nvidia_smi


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "-q",
                "-x",
                "-i",
                "0",
                "-L",
                "mig",
                "-cgi",
                "topo",
                "-l",
                "1",
                "--query-gpu=name",
                "--format=csv",
            ]
        )
        | st.text(st.characters(codec="ascii", exclude_characters="\0/"), max_size=12),
        max_size=5,
    )
)
def test_no_argument_list_crashes_the_tool(lonely: Path, arguments: list[str]) -> None:
    code, _ = run(lonely, *(argument for argument in arguments if not argument.startswith(("-f", "--f"))))
    assert code in {0, 2, 9}


async def test_mig_devices_are_made_listed_and_destroyed(smi: Smi) -> None:
    assert (await smi("mig", "-lgi"))[0] == 6
    assert (await smi("-i", "1", "-mig", "1"))[0] == 0
    code, said = await smi("mig", "-i", "1", "-cgi", "9,1g.10gb,MIG 1g.10gb+me:2", "-C")
    assert code == 0
    assert said.count("Successfully created GPU instance") == 3
    assert said.count("Successfully created compute instance") == 3
    _, listed = await smi("-L", "-i", "1")
    assert re.findall(r"MIG (\S+) +Device", listed) == ["3g.40gb", "1g.10gb", "1g.10gb+me"]
    _, xml = await smi("-q", "-x", "-i", "1")
    devices = ET.fromstring(xml).findall("gpu/mig_devices/mig_device")
    assert [each.findtext("device_attributes/shared/multiprocessor_count") for each in devices] == [
        "60",
        "16",
        "16",
    ]
    assert {each.findtext("ecc_error_count/volatile_count/sram_uncorrectable") for each in devices} == {"0"}
    _, table = await smi("-i", "1")
    assert {len(line) for line in table.splitlines()[1:] if line} == {91}
    assert (await smi("mig", "-dgi", "-i", "1"))[0] == 19
    assert (await smi("mig", "-dci", "-i", "1"))[0] == 0
    assert (await smi("mig", "-dgi", "-i", "1"))[0] == 0
    mig = smi.model.snapshot().gpus[1].mig
    assert mig is not None
    assert not mig.gpu_instances


@pytest.mark.parametrize("listing", ["-lgip", "-lgi", "-lcip", "-lci"])
async def test_mig_tables_have_straight_edges(smi: Smi, listing: str) -> None:
    await smi("-i", "0", "-mig", "1")
    await smi("mig", "-i", "0", "-cgi", "9,20", "-C")
    code, said = await smi("mig", "-i", "0", listing)
    assert code == 0
    assert len({len(line) for line in said.splitlines()}) == 1


@pytest.mark.parametrize(
    ("wish", "code", "word"),
    [
        ("9,9,9", 23, "Insufficient"),
        ("99", 2, "-lgip"),
        ("9:3", 2, "Invalid"),
        ("19:x", 2, "START"),
        ("", 2, "profile"),
    ],
)
async def test_a_wish_that_cannot_be_met_says_why(smi: Smi, wish: str, code: int, word: str) -> None:
    await smi("-i", "0", "-mig", "1")
    result, said = await smi("mig", "-i", "0", "-cgi", wish)
    assert (result, word in said) == (code, True), said


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("-dgi", "-gi", "99"), 6, "No GPU instances found"),
        (("-dci", "-gi", "2", "-ci", "5"), 6, "No compute instances found"),
        (("-lci", "-gi", "7"), 6, "No compute instances found"),
        (("-dci", "-gi", "7"), 6, "No compute instances found"),
        (("-cci", "99", "-gi", "2"), 2, "-lcip"),
        (("-dgi", "-gi", "x"), 2, "ids"),
        (("-dgi", "-gi", "2,"), 2, "ids"),
        (("-dci", "-ci", "0;1"), 2, "ids"),
        (("-dgi", "-gi", "2"), 19, "-dci"),
        (("-lgip", "-lgi"), 2, "one thing"),
    ],
)
async def test_instances_that_are_not_there_are_told_of(
    smi: Smi, arguments: tuple[str, ...], code: int, word: str
) -> None:
    await smi("-i", "0", "-mig", "1")
    await smi("mig", "-i", "0", "-cgi", "9", "-C")
    await smi("mig", "-i", "0", "-cgi", "19")
    before = smi.model.snapshot()
    result, said = await smi("mig", "-i", "0", *arguments)
    assert (result, word in said) == (code, True), said
    assert smi.model.snapshot() == before


async def test_instances_cannot_be_made_without_mig_mode(smi: Smi) -> None:
    code, said = await smi("mig", "-cgi", "9")
    assert (code, "-mig 1" in said) == (6, True)


async def test_profiles_and_placements_are_those_of_the_board(smi: Smi) -> None:
    _, said = await smi("mig", "-lgipp", "-i", "0")
    assert said.splitlines()[0] == "GPU  0 Profile ID 19 Placements: {0,1,2,3,4,5,6}:1"
    assert said.splitlines()[-1] == "GPU  0 Profile ID  0 Placement : {0}:8"
    _, said = await smi("mig", "-lgip", "-i", "0")
    assert [int(number) for number in re.findall(r"MIG \S+ +(\d+)", said)] == [19, 20, 15, 14, 9, 5, 0]
