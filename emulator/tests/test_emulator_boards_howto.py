"""docs/add-a-board.md is followed to the letter: what it shows is what happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from claimwright.emulator.model import Board, build_node, load_board, parse_profile, read_node_profile
from claimwright.emulator.running import down, known_names

PAGE = (Path(__file__).parents[2] / "docs/add-a-board.md").read_text(encoding="utf-8")
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(kind: str) -> list[str]:
    return [text for found, text in _FENCE.findall(PAGE) if found == kind]


def files() -> dict[str, str]:
    """Return the files that the page shows, by the name in their first line."""
    return {text.split("\n", 1)[0].removeprefix("# "): text for text in blocks("yaml")}


def steps() -> list[tuple[str, str]]:
    """Return each command of the page with what it is shown to print."""
    prompts = re.split(r"^\$ ", "".join(blocks("console")), flags=re.MULTILINE)
    return [(command, shown) for command, _, shown in (step.partition("\n") for step in prompts if step)]


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield
    for name in known_names():
        down(name)


def test_the_board_that_the_page_shows_is_valid_and_differs_from_its_relative() -> None:
    board = parse_profile(Board, files()["boards/l40.yaml"], "boards/l40.yaml")

    assert board.name == "NVIDIA L40"
    assert board.architecture is load_board("l40s").architecture


def test_the_node_that_the_page_shows_builds_with_its_variant(tmp_path: Path) -> None:
    (tmp_path / "l40.yaml").write_text(files()["l40.yaml"], encoding="utf-8")

    (gpu,) = build_node(read_node_profile(tmp_path / "l40.yaml"), "a").gpus

    assert (gpu.board.key, gpu.board.pci.device, gpu.board.vgpu) == ("l40", 0x26B5, None)
    assert gpu.board.memory == load_board("l40s").memory


@pytest.mark.slow
def test_every_command_of_the_page_prints_what_the_page_shows(tmp_path: Path) -> None:
    (tmp_path / "l40.yaml").write_text(files()["l40.yaml"], encoding="utf-8")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    for command, shown in steps():
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        told = done.stdout + done.stderr

        assert (done.returncode == 0) is not shown.startswith("Error:"), f"{command}: {told}"
        for line in filter(None, shown.split("\n")):
            pattern = ".*".join(re.escape(part) for part in line.split("…"))
            assert re.search(pattern, told, re.DOTALL), f"{command}: expected {line!r}, found {told!r}"
