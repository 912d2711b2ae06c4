"""The table's world on the emulator: one node, and which of its devices the symbols stand for.

The same node is served through any of the emulator's doors: in-process, or FUSE.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from claimwright.e2e.kernel_lab.door import FileDoor
from claimwright.e2e.kernel_lab.mounted_door import MountedDoor
from claimwright.e2e.kernel_lab.world import OFFERS, World
from claimwright.emulator.files.door import HostDoor
from claimwright.emulator.files.fuse import mounted
from claimwright.emulator.model import NodeModel, build_node
from claimwright.emulator.model.node_profile import NodeProfile
from claimwright.emulator.model.profile_text import parse_profile

_WAIT_SECONDS = 30.0  # longer than the runner waits for a write to end
_PROFILE = "emulated-node.yaml"
_HOMES = {
    "0000:21:00.0": "nvidia",
    "0000:31:00.0": "nvidia",
    "0000:31:00.1": "snd_hda_intel",
    "0000:41:00.0": "nvidia",
    "0000:a1:00.0": "nvidia",
    "0000:d1:00.0": "nvidia",
}
_GPU, _PAIR0, _PAIR1, _PF, _FAR, _MEDIATING = _HOMES


def in_process_world() -> World:
    """Return the node's files as this process sees them without mounting anything."""
    return _world("in-process", HostDoor(_model(), wait_seconds=_WAIT_SECONDS))


@contextmanager
def fuse_world(folder: Path) -> Iterator[World]:
    """Mount the node's files at a folder (as root) and give their world; device nodes are opened in this process."""
    door = HostDoor(_model(), wait_seconds=_WAIT_SECONDS)
    with mounted(door.files, folder, "claimwright-kernel-lab"):
        yield _world("FUSE", MountedDoor(folder, door))


def _model() -> NodeModel:
    text = files(__package__).joinpath(_PROFILE).read_text(encoding="utf-8")
    return NodeModel(build_node(parse_profile(NodeProfile, text, _PROFILE), "kernel-lab"))


def _world(name: str, door: FileDoor) -> World:
    device = f"/sys/bus/pci/devices/{_PF}"
    total = int(door.read(f"{device}/sriov_totalvfs"))
    mediating = f"/sys/bus/pci/devices/{_MEDIATING}"
    kind, instances = _mdev_type(door, f"{mediating}/mdev_supported_types")
    vendor, gpu = (
        door.read(f"/sys/bus/pci/devices/{_GPU}/{name}").decode().strip() for name in ("vendor", "device")
    )
    symbols = {
        "gpu": _GPU,
        "gpu_id": f"{vendor.removeprefix('0x')} {gpu.removeprefix('0x')}",
        "gpu_driver": "nvidia",
        "other_driver": "nvidia-nvswitch",
        "absent": "0000:7f:1f.7",
        "pair0": _PAIR0,
        "pair1": _PAIR1,
        "pair_driver": _HOMES[_PAIR1],
        "pf": _PF,
        "pf_driver": "nvidia",
        "total_vfs": str(total),
        "beyond_total_vfs": str(total + 1),
        "mdev_parent": mediating,
        "mdev_parent_name": _MEDIATING,
        "mdev_type": kind,
        "mdev_free": str(instances),
        "mdev_free_after_one": str(instances - 1),
        "mdev_driver": "nvidia-vgpu-vfio",
        "numa_gpu": _FAR,
        "numa_node": "1",
    }
    return World(name, door, symbols, _HOMES, OFFERS)


def _mdev_type(door: FileDoor, folder: str) -> tuple[str, int]:
    """Return a type that has room for two at least, and its room."""
    rooms = (
        (kind, int(door.read(f"{folder}/{kind}/available_instances"))) for kind in sorted(door.list(folder))
    )
    return next((kind, room) for kind, room in rooms if room > 1)
