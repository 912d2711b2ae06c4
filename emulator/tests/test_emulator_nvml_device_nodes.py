"""Device nodes that nobody made yet: NVIDIA's library makes them, as nvidia-modprobe does, where it may."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from claimwright.emulator.model.operations import bus
from claimwright.emulator.testing import Served

COUNT = "print(n.nvmlDeviceGetCount())"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "root", "l4") as served:
        yield served


def _parameters(node: Served, text: str) -> None:
    """Say what the kernel module was loaded with."""
    folder = node.root.path / "proc/driver/nvidia"
    folder.mkdir(parents=True)
    (folder / "params").write_text(text)


@needs_root
def test_a_privileged_process_makes_the_node_that_is_missing_and_finds_the_gpu(node: Served) -> None:
    _parameters(
        node, "ModifyDeviceFiles: 1\nDeviceFileUID: 7\nDeviceFileGID: 8\nDeviceFileMode: 432\nRmMsg: ''\n"
    )
    made = node.root.path / "dev/nvidia0"
    made.unlink()

    assert node.python(COUNT) == "1"

    found = made.stat()
    assert stat.S_ISCHR(found.st_mode)
    assert (os.major(found.st_rdev), os.minor(found.st_rdev)) == (195, 0)
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (7, 8, 0o660)
    assert {path.name for path in made.parent.iterdir()} == {"nvidia0", "nvidiactl"}


@pytest.mark.parametrize("parameters", ["ModifyDeviceFiles: 0\n", "", None])
def test_nothing_is_made_where_the_module_forbids_it_or_does_not_tell(
    node: Served, parameters: str | None
) -> None:
    if parameters is not None:
        _parameters(node, parameters)
    (node.root.path / "dev/nvidia0").unlink()

    # A process whose only GPU has no node is one without GPUs: nvmlInit says so.
    code, said = node.smi("-L")

    assert code != 0
    assert "No devices were found" in said
    assert [path.name for path in (node.root.path / "dev").iterdir()] == ["nvidiactl"]


@needs_root
def test_no_node_is_made_for_a_gpu_that_another_driver_holds(tmp_path: Path) -> None:
    with Served(tmp_path / "root", "hgx-h100") as node:
        _parameters(node, "ModifyDeviceFiles: 1\n")
        node.model.perform(bus.unbind, str(node.model.snapshot().gpus[3].pci))
        (node.root.path / "dev/nvidia3").unlink()

        assert node.python(COUNT) == "7"

        assert not (node.root.path / "dev/nvidia3").exists()
