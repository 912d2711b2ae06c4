"""`claimwright node`: what a person types, and what a program reads."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from claimwright.emulator import picture, running
from claimwright.emulator.commands import node
from claimwright.emulator.description import describe
from claimwright.emulator.model import NodeModel, build_node, load_node_profile, node_names
from claimwright.emulator.model.operations import bus, vgpu

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    yield
    for name in running.known_names():
        running.down(name)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(node, arguments)


def test_the_taste_of_the_readme_works() -> None:
    up = run("up", "--board", "hgx-h100")
    inspected = run("inspect")
    listed = run("list")
    down = run("down", "hgx-h100")

    assert [each.exit_code for each in (up, inspected, listed, down)] == [0, 0, 0, 0]
    assert "node hgx-h100 is up" in up.output
    for expected in (
        "H100 80GB HBM3",
        "0000:53:00.0",
        "NV18",
        "NUMA 1",
        "mlx5_0 ConnectX-7",
        "NVSwitch 3",
        "emulated",
    ):
        assert expected in inspected.output
    assert "hgx-h100" in listed.output


def test_programs_read_json() -> None:
    up = json.loads(run("up", "--board", "l4x4", "--name", "a", "--json").output)
    inspected = json.loads(run("inspect", "a", "--json").output)
    listed = json.loads(run("list", "--json").output)

    assert listed == [up]
    assert Path(up["driver_root"]).is_dir()
    assert [gpu["pcie_root"] for gpu in inspected["gpus"]] == ["pci0000:40"] * 2 + ["pci0000:c0"] * 2
    assert inspected["emulated"] is True


def test_exec_gives_the_program_the_nodes_environment_and_returns_its_status() -> None:
    running.up("l4", name="a")
    script = "import os, sys; print(os.environ['CLAIMWRIGHT_NODE'], os.environ['PATH']); sys.exit(7)"
    command = [
        "-c",
        "from claimwright.emulator.commands import node; node()",
        "exec",
        "a",
        "--",
        sys.executable,
    ]

    done = subprocess.run(
        [sys.executable, *command, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 7
    assert done.stdout.startswith("a ")
    assert "driver-root/usr/bin" in done.stdout


def test_pynvml_sees_the_node_through_exec() -> None:
    running.up("l4x4", name="a")
    script = "import pynvml; pynvml.nvmlInit(); print(pynvml.nvmlDeviceGetCount())"
    command = [
        "-c",
        "from claimwright.emulator.commands import node; node()",
        "exec",
        "a",
        "--",
        sys.executable,
    ]

    done = subprocess.run(
        [sys.executable, *command, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.stdout, done.returncode) == ("4\n", 0), done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("up", "--board", "h100"), "did you mean 'hgx-h100'? known: a10, a30"),
        (("up", "--profile", "/does/not/exist.yaml"), "cannot be read as a profile"),
        (("up", "--name", "A_B"), "no node name"),
        (("down", "nobody"), "there is no node 'nobody'; known: none"),
        (("up", "--name", ""), "'' is no node name"),
        (("up", "--board", ""), "there is no node profile ''"),
        (("inspect",), "no node is up; `claimwright node up` boots one"),
        (("inspect", "nobody"), "is not up"),
        (("exec", "nobody", "--", "true"), "is not up"),
    ],
)
def test_a_mistake_is_one_clear_line_and_status_2(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)

    assert result.exit_code == 2
    assert result.output.startswith("Error: ") or "\nError: " in result.output
    assert said in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "arguments", [("up", "--board", "l4", "--profile", "x"), ("down",), ("down", "a", "--all"), ("exec",)]
)
def test_contradicting_options_are_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_a_command_that_does_not_exist_is_named() -> None:
    running.up("l4", name="a")
    command = [
        "-c",
        "from claimwright.emulator.commands import node; node()",
        "exec",
        "a",
        "--",
        "no-such-program",
    ]

    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 127
    assert "'no-such-program' cannot be run: No such file" in done.stderr


def test_exec_without_a_command_says_what_to_type() -> None:
    running.up("l4", name="a")

    result = run("exec", "a", "--")

    assert result.exit_code == 2
    assert "claimwright node exec a -- nvidia-smi -L" in result.output


def test_two_nodes_and_no_name_lists_both() -> None:
    running.up("l4", name="a")
    running.up("l4", name="b")

    result = run("inspect")

    assert result.exit_code == 2
    assert "name one of a, b" in result.output


def test_tables_have_a_header() -> None:
    running.up("l4", name="a")

    assert run("list").output.splitlines()[0].split()[:3] == ["NAME", "PROFILE", "PID"]
    heads = [line.split() for line in run("boards").output.splitlines()]
    assert heads[0] == ["NODE", "TITLE", "BOARDS", "UNVERIFIED"]
    assert ["BOARD", "NAME", "ARCHITECTURE", "MEMORY", "UNVERIFIED"] in heads


def test_down_all_clears_the_living_and_the_dead() -> None:
    running.up("l4", name="a")
    running.up("l4", name="b")

    result = run("down", "--all")

    assert result.exit_code == 0
    assert running.known_names() == []


def test_a_profile_of_ones_own_boots(tmp_path: Path) -> None:
    from importlib.resources import files

    text = files("claimwright.emulator").joinpath("nodes/l4.yaml").read_text(encoding="utf-8")
    mine = tmp_path / "mine.yaml"
    mine.write_text(text.replace("key: l4", "key: mine").replace(" 41:00.0", " 77:00.0"))

    up = run("up", "--profile", str(mine))

    assert up.exit_code == 0, up.output
    assert json.loads(run("inspect", "mine", "--json").output)["gpus"][0]["pci"] == "0000:77:00.0"


def test_boards_lists_every_profile_with_its_gpus() -> None:
    assert "8 x h100-sxm5-80" in run("boards").output
    listed = [row["profile"] for row in json.loads(run("boards", "--json").output)["nodes"]]
    assert listed == list(node_names())
    assert {"dgx-a100", "gb200-tray", "hgx-b200", "hgx-h100", "l4"} <= set(listed)


def test_help_teaches_the_first_steps() -> None:
    help_text = run("--help").output

    assert "claimwright node up --board hgx-h100" in help_text
    assert "nvidia-smi -L" in help_text
    for command in ("", "up", "exec"):
        lines = run(*filter(None, [command]), "--help").output.splitlines()
        assert not [line for line in lines if "\\b" in line]
        assert [line for line in lines if line.startswith("    claimwright node ")], (
            "examples keep their lines"
        )


def test_inspect_draws_vgpus_and_counts_virtual_functions() -> None:
    model = NodeModel(build_node(load_node_profile("every-mode"), "node"))
    first, *_ = model.perform(bus.set_virtual_functions, "0000:b1:00.0", 4)
    model.perform(vgpu.create_vgpu, 5, 1155, first)
    console = Console(width=140, record=True, file=io.StringIO())
    for part in picture.draw(describe(model.snapshot())):
        console.print(part)
    drawn = console.export_text()
    assert "GPU 5 L40S  0000:b1:00.0  +4 virtual functions" in drawn
    assert re.search(rf"1 +5 +L40S-24Q +{re.escape(first)} +none", drawn)
