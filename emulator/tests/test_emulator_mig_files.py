"""MIG in files: capabilities and their device nodes come and go with the instances."""

from __future__ import annotations

from pathlib import Path

import pytest

from claimwright.emulator.files import faces, procfs
from claimwright.emulator.files.following import render_files
from claimwright.emulator.files.majors import Majors
from claimwright.emulator.files.tree import CharDevice, File
from claimwright.emulator.model import NodeModel, build_node, load_node_profile
from claimwright.emulator.model.operations import bus, mig

CAPABILITIES = "proc/driver/nvidia/capabilities"


@pytest.fixture
def model() -> NodeModel:
    model = NodeModel(build_node(load_node_profile("hgx-h100"), "n"))
    model.perform(mig.set_mig_mode, 3, enabled=True)
    return model


def cut(model: NodeModel) -> None:
    model.perform(mig.create_gpu_instance, 3, 14, start=0)  # id 3
    model.perform(mig.create_compute_instance, 3, 3, 0)
    model.perform(mig.create_compute_instance, 3, 3, 0)


@pytest.mark.capability("000-06")
def test_a_capability_says_the_minor_of_its_device_node(model: NodeModel) -> None:
    cut(model)
    tree = faces.host_root(model.snapshot(), Majors())

    for path, minor in (("gi3", 435), ("gi3/ci0", 436), ("gi3/ci1", 437)):
        file = tree[f"{CAPABILITIES}/gpu3/mig/{path}/access"]
        assert isinstance(file, File)
        assert (
            file.content.decode() == f"DeviceFileMinor: {minor}\nDeviceFileMode: 292\nDeviceFileModify: 1\n"
        )
        node = tree[f"dev/nvidia-caps/nvidia-cap{minor}"]
        assert isinstance(node, CharDevice)
        assert (node.major, node.minor) == (Majors().caps, minor)


def test_the_minors_are_those_of_the_static_table(model: NodeModel) -> None:
    cut(model)
    table = dict(line.split() for line in procfs.mig_minors().splitlines())

    assert table["gpu3/gi3/ci3/access"] == "439"
    assert table["gpu6/gi11/ci5/access"] == "918"
    assert table["gpu3/gi3/access"] == "435"


def below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in (root / CAPABILITIES / "gpu3").rglob("*")}


def test_the_folders_vanish_with_the_instances(model: NodeModel, tmp_path: Path) -> None:
    host = tmp_path / "host"
    with render_files(model, host, tmp_path / "driver"):
        cut(model)
        assert {path.removeprefix(f"{CAPABILITIES}/gpu3/") for path in below(host)} == {
            "mig",
            "mig/gi3",
            "mig/gi3/access",
            "mig/gi3/ci0",
            "mig/gi3/ci0/access",
            "mig/gi3/ci1",
            "mig/gi3/ci1/access",
        }
        assert (host / "dev/nvidia-caps/nvidia-cap437").exists()
        model.perform(mig.destroy_compute_instance, 3, 3, 1)
        assert not (host / f"{CAPABILITIES}/gpu3/mig/gi3/ci1").exists()
        assert not (host / "dev/nvidia-caps/nvidia-cap437").exists()
        model.perform(mig.destroy_compute_instance, 3, 3, 0)
        model.perform(mig.destroy_gpu_instance, 3, 3)
        assert below(host) == set()


def test_a_gpu_that_goes_to_another_driver_takes_its_instances_along(
    model: NodeModel, tmp_path: Path
) -> None:
    cut(model)
    host = tmp_path / "host"
    with render_files(model, host, tmp_path / "driver"):
        address = str(model.snapshot().gpus[3].pci)
        model.perform(bus.unbind, address)
        assert below(host) == set()
        model.perform(bus.bind, address, "nvidia")
        assert below(host) == set()
