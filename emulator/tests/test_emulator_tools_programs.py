"""nvidia-smi, nvidia-cdi-hook and libcuda, run as programs against a served node."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from claimwright.emulator.model import NodeModel, build_node, load_node_profile
from claimwright.emulator.model.operations import gpus
from claimwright.emulator.nvml import DriverRoot, compose
from claimwright.emulator.nvml.server import serving


class Tools:
    def __init__(self, root: DriverRoot, model: NodeModel) -> None:
        self.root = root
        self.model = model

    async def smi(self, *arguments: str) -> tuple[int, str]:
        return await asyncio.to_thread(_run, self.root.nvidia_smi, *arguments)


def _run(program: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout


@pytest.fixture
async def tools(tmp_path: Path) -> AsyncIterator[Tools]:
    model = NodeModel(build_node(load_node_profile("hgx-h100"), "node"))
    root = compose(tmp_path / "root", "580.126.20")
    (root.path / "dev").mkdir()
    for name in ("nvidiactl", *(f"nvidia{minor}" for minor in range(8))):
        (root.path / "dev" / name).touch()
    async with serving(root.socket_path, model):
        yield Tools(root, model)


async def test_the_list_names_each_gpu_once(tools: Tools) -> None:
    code, said = await tools.smi("-L")
    gpus = tools.model.snapshot().gpus
    assert (code, said.splitlines()) == (0, [f"GPU {g.index}: {g.board.name} (UUID: {g.uuid})" for g in gpus])


async def test_a_query_gives_the_models_values_as_csv(tools: Tools) -> None:
    tools.model.perform(gpus.set_temperature, 3, 66)
    names = "index,uuid,pci.bus_id,memory.total,temperature.gpu,mig.mode.current,compute_cap"
    code, said = await tools.smi(f"--query-gpu={names}", "--format=csv,noheader,nounits")
    rows = [[cell.strip() for cell in row] for row in csv.reader(said.splitlines())]
    assert code == 0
    assert rows == [
        [
            str(g.index),
            g.uuid,
            g.pci.nvml,
            str(g.board.memory.total_mib),
            str(g.temperature.gpu),
            "Disabled",
            "9.0",
        ]
        for g in tools.model.snapshot().gpus
    ]


async def test_units_stand_in_head_and_cells(tools: Tools) -> None:
    _, said = await tools.smi("-i", "0", "--query-gpu=memory.total,power.limit,fan.speed", "--format=csv")
    assert said == "memory.total [MiB], power.limit [W], fan.speed [%]\n81559 MiB, 700.00 W, [N/A]\n"


async def test_every_listed_property_can_be_asked_for(tools: Tools) -> None:
    _, listed = await tools.smi("--help-query-gpu")
    names = re.findall(r'"([^"]+)"', listed)
    code, said = await tools.smi("-i", "0", f"--query-gpu={','.join(names)}", "--format=csv,noheader")
    assert code == 0
    assert len(names) > 150
    assert len(said.split(", ")) == len(names)


async def test_an_unknown_property_is_named_and_fails(tools: Tools) -> None:
    assert await tools.smi("--query-gpu=index,nonsense", "--format=csv") == (
        2,
        'Field "nonsense" is not a valid field to query.\n`nvidia-smi --help-query-gpu` lists those that are.\n\n',
    )


@pytest.mark.parametrize(
    "wrong",
    [
        ("--nonsense",),
        ("-i", "99", "-L"),
        ("-pm", "2"),
        ("--query-gpu=name",),
        ("compute-policy", "--set-timeslice", "x"),
    ],
    ids=" ".join,
)
async def test_wrong_arguments_fail_and_say_why(tools: Tools, wrong: tuple[str, ...]) -> None:
    code, said = await tools.smi(*wrong)
    assert code in {2, 6}
    assert said.strip()


async def test_settings_reach_the_model(tools: Tools) -> None:
    gpu = tools.model.snapshot().gpus[1]
    assert (await tools.smi("-i", gpu.pci.nvml, "-pm", "1"))[0] == 0
    assert (await tools.smi("-i", gpu.uuid, "-c", "EXCLUSIVE_PROCESS"))[0] == 0
    assert (await tools.smi("compute-policy", "-i", gpu.uuid, "--set-timeslice", "2"))[0] == 0
    assert (await tools.smi("-i", "1", "-pl", "650"))[0] == 0
    changed, other = tools.model.snapshot().gpus[1], tools.model.snapshot().gpus[2]
    assert (changed.persistence_mode, changed.compute_mode, changed.time_slice) == (True, 3, 2)
    assert changed.power.limit_milliwatts == 650_000
    assert (other.persistence_mode, other.compute_mode, other.time_slice) == (False, 0, 0)


async def test_a_power_limit_out_of_range_is_refused_by_the_hardware(tools: Tools) -> None:
    code, said = await tools.smi("-i", "0", "-pl", "5")
    assert code == 2
    assert "Invalid Argument" in said


async def test_the_table_has_straight_edges_and_every_gpu(tools: Tools) -> None:
    tools.model.perform(gpus.start_process, 0, 2**22 + 7, "x", 3 << 30)
    code, said = await tools.smi()
    lines = [line for line in said.splitlines()[1:] if line]
    assert code == 0
    assert {len(line) for line in lines} == {91}
    assert all(gpu.pci.nvml in said for gpu in tools.model.snapshot().gpus)
    assert "3072MiB" in said


def test_without_a_node_the_tool_says_that_the_driver_is_not_there(tmp_path: Path) -> None:
    root = compose(tmp_path / "root", "580.126.20")
    code, said = _run(root.nvidia_smi, "-L")
    assert code == 9
    assert "couldn't communicate with the NVIDIA driver" in said


async def test_libcuda_counts_what_nvml_shows(tools: Tools) -> None:
    for minor in range(5):
        (tools.root.path / f"dev/nvidia{minor}").unlink()
    script = (
        "import ctypes, sys; c = ctypes.CDLL(sys.argv[1]); n, v = ctypes.c_int(), ctypes.c_int(); "
        "print(c.cuInit(0), c.cuDeviceGetCount(ctypes.byref(n)), n.value, "
        "c.cuDriverGetVersion(ctypes.byref(v)), v.value)"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        str(tools.root.library_dir / "libcuda.so.1"),
        stdout=subprocess.PIPE,
        env={"LD_LIBRARY_PATH": str(tools.root.library_dir)},
    )
    output, _ = await process.communicate()
    assert output == b"0 0 3 0 13000\n"


def _hook(root: Path, bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    state = json.dumps(
        {"ociVersion": "1.2.0", "annotations": {"bundle": "wrong", "x": '}"{'}, "bundle": str(bundle)}
    )
    program = compose(root, "580.126.20").nvidia_smi.with_name("nvidia-cdi-hook")
    return subprocess.run(
        [program, *arguments], input=state, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    made = tmp_path / "bundle"
    (made / "rootfs/usr").mkdir(parents=True)
    (made / "config.json").write_text(
        json.dumps({"process": {"root": {"path": "no"}}, "root": {"path": "rootfs"}})
    )
    return made


def test_create_symlinks_makes_links_and_folders_twice_alike(tmp_path: Path, bundle: Path) -> None:
    arguments = (
        "create-symlinks",
        "--link",
        "libcuda.so.1::/usr/lib64/libcuda.so",
        "--link=../x::/opt/a/b/c",
    )
    for _ in range(2):
        assert _hook(tmp_path / "root", bundle, *arguments).returncode == 0
    assert (bundle / "rootfs/usr/lib64/libcuda.so").readlink() == Path("libcuda.so.1")
    assert (bundle / "rootfs/opt/a/b/c").readlink() == Path("../x")


def test_a_link_in_the_image_does_not_lead_out_of_the_container(tmp_path: Path, bundle: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (bundle / "rootfs/opt").symlink_to(outside)
    _hook(tmp_path / "root", bundle, "create-symlinks", "--link", "target::/opt/link")
    assert list(outside.iterdir()) == []


def test_update_ldcache_writes_the_folders_and_says_that_it_runs_nothing(
    tmp_path: Path, bundle: Path
) -> None:
    done = _hook(
        tmp_path / "root", bundle, "update-ldcache", "--folder", "/usr/lib64", "--folder", "/opt/lib"
    )
    assert done.returncode == 0
    assert (bundle / "rootfs/etc/ld.so.conf.d/00-nvcr.conf").read_text() == "/usr/lib64\n/opt/lib\n"
    assert "no ldconfig is run" in done.stderr


def test_hooks_without_a_driver_to_act_on_do_nothing_and_say_so(tmp_path: Path, bundle: Path) -> None:
    for name in ("enable-cuda-compat", "disable-device-node-modification"):
        done = _hook(tmp_path / "root", bundle, name)
        assert (done.returncode, "nothing to do" in done.stderr) == (0, True)


def test_an_unknown_hook_and_a_broken_state_fail_with_one_line(tmp_path: Path, bundle: Path) -> None:
    assert _hook(tmp_path / "root", bundle, "nonsense").returncode == 1
    (bundle / "config.json").write_text("{")
    done = _hook(tmp_path / "root", bundle, "create-symlinks", "--link", "a::/b")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
