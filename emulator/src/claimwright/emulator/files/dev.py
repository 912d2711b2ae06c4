"""The device nodes of the driver, as nvidia-modprobe and the fabric manager's start make them."""

from __future__ import annotations

from claimwright.emulator.files import mig
from claimwright.emulator.files.majors import NVIDIA_MAJOR, Majors
from claimwright.emulator.files.procfs import (
    IMEX_MANAGEMENT_MINOR,
    MIG_CONFIG_MINOR,
    MIG_MONITOR_MINOR,
)
from claimwright.emulator.files.tree import CharDevice, Tree
from claimwright.emulator.model import NodeState

_MODESET_MINOR, _CONTROL_MINOR, _NVSWITCH_CONTROL_MINOR = 254, 255, 255


def nodes(state: NodeState, majors: Majors) -> Tree:
    """Return the nodes, by path below `dev/`; a GPU that another driver holds has none."""
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
