"""All files of a node together, for the two ways to serve them: alone, or added to a real machine."""

from __future__ import annotations

from claimwright.emulator.files import dev, mig, procfs, sysfs
from claimwright.emulator.files.majors import Majors
from claimwright.emulator.files.tree import Tree
from claimwright.emulator.model import NodeState


def host_root(state: NodeState, majors: Majors | None = None) -> Tree:
    """Return a host root that stands alone: sys/, proc/ and dev/."""
    majors = majors or Majors()
    return {
        **sysfs.whole(state),
        **procfs.whole(state, majors),
        **mig.capability_files(state),
        **dev.nodes(state, majors),
    }


def additions(state: NodeState) -> Tree:
    """Return what is added to a real machine's sys/ and proc/; device nodes and /proc/devices come apart."""
    return {**sysfs.emulated_devices(state), **procfs.emulated_entries(state), **mig.capability_files(state)}
