"""Capabilities of MIG instances: the files and device nodes that stand for the right to use one.

As kernel-open/nvidia-caps and nv-caps.c make them: `/proc/driver/nvidia/capabilities/gpu<minor>/mig/gi<id>/access` and
`…/ci<id>/access` exist while the instance does; the minors are those of the static table `mig-minors`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from claimwright.emulator.files.majors import Majors
from claimwright.emulator.files.parts import Part
from claimwright.emulator.files.procfs import capability, instance_minor
from claimwright.emulator.files.tree import CharDevice, Tree
from claimwright.emulator.model import NodeState

_CAPABILITIES = "proc/driver/nvidia/capabilities"
_MODE = 0o444  # DeviceFileMode 292


class Access(NamedTuple):
    """One instance's capability: its file below `capabilities/`, and the minor of its device node."""

    path: str
    minor: int


def accesses(state: NodeState) -> Iterator[Access]:
    """Yield the capabilities of all instances that exist."""
    for gpu in state.nvml_gpus:
        for instance in gpu.mig.gpu_instances if gpu.mig else ():
            folder = f"gpu{gpu.minor}/mig/gi{instance.id}"
            yield Access(f"{folder}/access", instance_minor(gpu.minor, instance.id))
            for compute in instance.compute_instances:
                minor = instance_minor(gpu.minor, instance.id, compute.id)
                yield Access(f"{folder}/ci{compute.id}/access", minor)


def capabilities(state: NodeState) -> Iterator[Part]:
    """Yield the capability files as one part."""
    yield Part("mig", tuple(accesses(state)), lambda: capability_files(state))


def capability_files(state: NodeState) -> Tree:
    """Return the capability files."""
    return {f"{_CAPABILITIES}/{path}": capability(minor, _MODE) for path, minor in accesses(state)}


def device_nodes(state: NodeState, majors: Majors) -> Tree:
    """Return the device nodes, as nvidia-modprobe makes them with the instances."""
    return {
        f"dev/nvidia-caps/nvidia-cap{minor}": CharDevice(majors.caps, minor, _MODE)
        for _, minor in accesses(state)
    }
