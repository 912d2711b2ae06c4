"""The world inside the lab: which of the machine's devices the table's symbols stand for, found by looking."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from claimwright.e2e.kernel_lab.door import RealDoor
from claimwright.e2e.kernel_lab.errors import LabError
from claimwright.e2e.kernel_lab.hardware import EDU, NUMA_NODE, PHYSICAL, TOTAL_VFS
from claimwright.e2e.kernel_lab.world import EMULATED_ONLY, OFFERS, World

_DEVICES = Path("/sys/bus/pci/devices")
_DRIVERS = Path("/sys/bus/pci/drivers")
# Takes every device that it is told of and does nothing; unlike pci-stub it lets the kernel keep the device's DMA, as a
# GPU's own driver does, so that it spoils a group for VFIO.
_HOME_DRIVER = "pci-pf-stub"
_OTHER_DRIVER = "virtio-pci"
_MDEV_PARENT = Path("/sys/devices/virtual/mtty/mtty")
_MDEV_TYPE, _MDEV_PORTS = "mtty-1", 24  # samples/vfio-mdev/mtty.c: MTTY_MAX_PORTS serial ports to share out


def kernel_world() -> World:
    """Return the world of this machine; LabError when it is not the lab's machine.

    Gives the devices their home driver first, as a GPU has its own from the start.
    """
    if not os.uname().release.endswith("-claimwright-lab"):
        raise LabError(
            "this is not the kernel lab: `claimwright kernel-lab run -- COMMAND` runs a command inside it"
        )
    _claim_devices()
    plain = _with_ids(EDU)
    pair = [
        address for address in plain if any(address[:-1] == other[:-1] for other in plain if other != address)
    ]
    far = [address for address in plain if _text(address, "numa_node") == str(NUMA_NODE)]
    (gpu,) = set(plain) - set(pair) - set(far)
    (pf,) = [address for address in _with_ids(PHYSICAL) if (_DEVICES / address / "sriov_totalvfs").exists()]
    symbols = {
        "gpu": gpu,
        "gpu_id": _written(EDU),
        "gpu_driver": _HOME_DRIVER,
        "other_driver": _OTHER_DRIVER,
        "absent": "0000:7f:1f.7",
        "pair0": pair[0],
        "pair1": pair[1],
        "pair_driver": _HOME_DRIVER,
        "pf": pf,
        "pf_driver": _HOME_DRIVER,
        "total_vfs": str(TOTAL_VFS),
        "beyond_total_vfs": str(TOTAL_VFS + 1),
        "mdev_parent": str(_MDEV_PARENT),
        "mdev_parent_name": _MDEV_PARENT.name,
        "mdev_type": _MDEV_TYPE,
        "mdev_free": str(_MDEV_PORTS),
        "mdev_free_after_one": str(_MDEV_PORTS - 1),
        "mdev_driver": "mtty",
        "numa_gpu": far[0],
        "numa_node": str(NUMA_NODE),
    }
    homes = dict.fromkeys((*plain, pf), _HOME_DRIVER)
    return World("kernel", RealDoor(), symbols, homes, OFFERS - EMULATED_ONLY)


def _claim_devices() -> None:
    for ids in (EDU, PHYSICAL):
        with contextlib.suppress(FileExistsError):  # a second program in the same machine
            (_DRIVERS / _HOME_DRIVER / "new_id").write_text(_written(ids))


def _written(ids: tuple[str, str]) -> str:
    """Return a vendor and a device as `new_id` takes them."""
    return " ".join(part.removeprefix("0x") for part in ids)


def _with_ids(ids: tuple[str, str]) -> list[str]:
    return [
        address for address in _addresses() if (_text(address, "vendor"), _text(address, "device")) == ids
    ]


def _addresses() -> list[str]:
    return sorted(entry.name for entry in _DEVICES.iterdir())


def _text(address: str, name: str) -> str:
    return (_DEVICES / address / name).read_text().strip()
