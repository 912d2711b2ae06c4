"""The operations table's worlds on the emulator: in this process, and through FUSE."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from claimwright.e2e.kernel_lab.door import FileDoor, OpenFile, RealDoor
from claimwright.e2e.kernel_lab.world import OFFERS, World
from claimwright.emulator.files import fuse
from claimwright.emulator.files.door import HostDoor
from claimwright.emulator.files.faces import standing_alone
from claimwright.emulator.files.hosting import HostFiles
from claimwright.emulator.files.majors import Majors
from claimwright.emulator.model import NodeModel, NodeProfile, build_node, parse_profile

_WAIT_SECONDS = 15.0
_TYPE_Q4 = "T4-4Q"  # four of them fit on a T4
_PROFILE = """
key: kernel-lab
title: What the operations table needs
driver_version: 580.126.20
cuda_driver_version: 13000
machine: {vendor: Claimwright, product: "Emulated kernel lab"}
iommu: true
vgpu_manager: true
numa:
  - {id: 0, socket: 0, cpus: "0-15", memory_mib: 65536, distances: [10, 21]}
  - {id: 1, socket: 1, cpus: "16-31", memory_mib: 65536, distances: [21, 10]}
devices:
  root-port: {kind: bridge, vendor: 0x8086, device: 0x352A, link_generation: 5}
  hdmi-audio: {kind: audio, device: 0x22E8}
pcie:
  - root: "0000:30"
    numa: 0
    tree:
      30:01.0 root-port:
        31:00.0 l4:
      30:02.0 root-port:
        32:00.0 rtx-pro-6000-bse:
        32:00.1 hdmi-audio:
  - root: "0000:b0"
    numa: 1
    tree:
      b0:01.0 root-port:
        b1:00.0 a100-pcie-40:
      b0:02.0 root-port:
        b2:00.0 t4:
"""
_GPU, _PAIR, _PF, _MDEV_PARENT = (
    "0000:31:00.0",
    ("0000:32:00.0", "0000:32:00.1"),
    "0000:b1:00.0",
    "0000:b2:00.0",
)
_WITHOUT_KERNEL = frozenset(
    {"open", "ioctl", "stat-device"}
)  # FUSE device nodes cannot be opened: no driver has them


@dataclass(frozen=True, slots=True)
class FolderDoor:
    """The real system calls, on a folder that plays a host's root."""

    root: Path
    real: RealDoor = field(default_factory=RealDoor)

    def read(self, path: str) -> bytes:
        """See FileDoor."""
        return self.real.read(f"{self.root}{path}")

    def write(self, path: str, data: bytes, *, truncate: bool = False) -> int:
        """See FileDoor."""
        return self.real.write(f"{self.root}{path}", data, truncate=truncate)

    def readlink(self, path: str) -> str:
        """See FileDoor."""
        return self.real.readlink(f"{self.root}{path}")

    def list(self, path: str) -> list[str]:
        """See FileDoor."""
        return self.real.list(f"{self.root}{path}")

    def stat(self, path: str) -> os.stat_result:
        """See FileDoor."""
        return self.real.stat(f"{self.root}{path}")

    def open(self, path: str, flags: int) -> OpenFile:
        """See FileDoor."""
        return self.real.open(f"{self.root}{path}", flags)


def in_process_world() -> World:
    """Return the emulator's files as they are in this process, device nodes and VFIO's requests included."""
    model = _model()
    return _world("emulator, in-process", model, HostDoor(model, wait_seconds=_WAIT_SECONDS), OFFERS)


@contextmanager
def mounted_world() -> Iterator[World]:
    """Mount the emulator's files with FUSE for as long as the block lasts; MountRefused where that is not possible."""
    model = _model()
    files = HostFiles(model, standing_alone(Majors()))
    with (
        TemporaryDirectory(prefix="claimwright-lab-") as folder,
        fuse.mounted(files, Path(folder), "claimwright-lab"),
    ):
        yield _world("emulator, FUSE", model, FolderDoor(Path(folder)), OFFERS - _WITHOUT_KERNEL)


def _model() -> NodeModel:
    return NodeModel(build_node(parse_profile(NodeProfile, _PROFILE, "kernel-lab"), "kernel-lab"))


def _world(name: str, model: NodeModel, door: FileDoor, offers: frozenset[str]) -> World:
    board = next(gpu.board for gpu in model.snapshot().gpus if str(gpu.pci) == _MDEV_PARENT)
    assert board.vgpu is not None
    mediated = next(each for each in board.vgpu.types.values() if each.name == _TYPE_Q4)
    total = int(door.read(f"/sys/bus/pci/devices/{_PF}/sriov_totalvfs"))
    identity = model.snapshot().gpus[0].board.pci.identity
    symbols = {
        "gpu": _GPU,
        "gpu_id": f"{identity.vendor:04x} {identity.device:04x}",
        "gpu_driver": "nvidia",
        "other_driver": "nvidia-nvswitch",
        "absent": "0000:99:00.0",
        "pair0": _PAIR[0],
        "pair1": _PAIR[1],
        "pair_driver": "snd_hda_intel",
        "pf": _PF,
        "pf_driver": "nvidia",
        "total_vfs": str(total),
        "beyond_total_vfs": str(total + 1),
        "mdev_parent": f"/sys/bus/pci/devices/{_MDEV_PARENT}",
        "mdev_type": f"nvidia-{mediated.id}",
        "mdev_free": str(mediated.per_gpu),
        "mdev_free_after_one": str(mediated.per_gpu - 1),
        "mdev_driver": "nvidia-vgpu-vfio",
        "numa_gpu": _PF,
        "numa_node": "1",
    }
    homes = {
        _GPU: "nvidia",
        _PAIR[0]: "nvidia",
        _PAIR[1]: "snd_hda_intel",
        _PF: "nvidia",
        _MDEV_PARENT: "nvidia",
    }
    return World(name, door, symbols, homes, offers)
