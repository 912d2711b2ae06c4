"""The device nodes of the driver, as nvidia-modprobe and the fabric manager's start make them."""

from __future__ import annotations

from collections.abc import Iterator

from claimwright.emulator.files import mig
from claimwright.emulator.files.majors import NVIDIA_MAJOR, Majors
from claimwright.emulator.files.parts import Part
from claimwright.emulator.files.procfs import (
    IMEX_MANAGEMENT_MINOR,
    MIG_CONFIG_MINOR,
    MIG_MONITOR_MINOR,
)
from claimwright.emulator.files.tree import CharDevice, Tree
from claimwright.emulator.model import NodeState
from claimwright.emulator.model.bus import BusFunction
from claimwright.emulator.model.bus.mediated import MediatedDevice

_MODESET_MINOR, _CONTROL_MINOR, _NVSWITCH_CONTROL_MINOR = 254, 255, 255


def device_nodes(state: NodeState, majors: Majors) -> Iterator[Part]:
    """Yield all nodes as one part."""
    tree = nodes(state, majors)
    yield Part("dev", tree, lambda: tree)


def nodes(state: NodeState, majors: Majors) -> Tree:
    """Return the nodes, by path below `dev/`; a GPU that another driver holds has none."""
    return _nvidia(state, majors) | _vfio(state, majors)


def _nvidia(state: NodeState, majors: Majors) -> Tree:
    if "nvidia" not in state.bus.modules:
        return {}
    tree: Tree = {f"dev/nvidia{gpu.minor}": CharDevice(NVIDIA_MAJOR, gpu.minor) for gpu in state.nvml_gpus}
    tree |= {
        "dev/nvidiactl": CharDevice(NVIDIA_MAJOR, _CONTROL_MINOR),
        "dev/nvidia-modeset": CharDevice(NVIDIA_MAJOR, _MODESET_MINOR),
        "dev/nvidia-uvm": CharDevice(majors.uvm, 0),
        "dev/nvidia-uvm-tools": CharDevice(majors.uvm, 1),
        f"dev/nvidia-caps/nvidia-cap{MIG_CONFIG_MINOR}": CharDevice(majors.caps, MIG_CONFIG_MINOR, 0o400),
        f"dev/nvidia-caps/nvidia-cap{MIG_MONITOR_MINOR}": CharDevice(majors.caps, MIG_MONITOR_MINOR, 0o444),
    }
    tree |= mig.device_nodes(state, majors) | _imex(state, majors)
    if state.nvswitches:
        tree["dev/nvidia-nvswitchctl"] = CharDevice(majors.nvswitch, _NVSWITCH_CONTROL_MINOR)
        tree["dev/nvidia-nvlink"] = CharDevice(majors.nvlink, 0)
    for nvswitch in state.nvswitches:
        tree[f"dev/nvidia-nvswitch{nvswitch.index}"] = CharDevice(majors.nvswitch, nvswitch.index)
    return tree


def _imex(state: NodeState, majors: Majors) -> Tree:
    """Return the node that nvidia-imex needs on a fabric, and those of the channels that were made."""
    tree: Tree = {
        f"dev/nvidia-caps-imex-channels/channel{channel}": CharDevice(majors.imex_channels, channel)
        for channel in sorted(state.imex_channels.nodes)
    }
    if any(gpu.fabric for gpu in state.gpus):
        minor = IMEX_MANAGEMENT_MINOR
        tree[f"dev/nvidia-caps/nvidia-cap{minor}"] = CharDevice(majors.caps, minor, 0o400)
    return tree


def _vfio(state: NodeState, majors: Majors) -> Tree:
    """Return what the VFIO modules make: the container, a node per group and per device that is on a VFIO driver."""
    tree: Tree = {}
    if "vfio" in state.bus.modules:
        tree["dev/vfio/vfio"] = CharDevice(*majors.container)
    if "iommufd" in state.bus.modules:
        tree["dev/iommu"] = CharDevice(*majors.iommu)
    devices: list[BusFunction | MediatedDevice] = [*state.bus.functions.values(), *state.mediated]
    for each in devices:
        if each.vfio_device is not None:
            tree[f"dev/vfio/{each.iommu_group}"] = CharDevice(
                majors.vfio_groups, each.iommu_group or 0, 0o600
            )
            if each.leaving is None:
                name = f"dev/vfio/devices/vfio{each.vfio_device}"
                tree[name] = CharDevice(majors.vfio_devices, each.vfio_device, 0o600)
    return tree
