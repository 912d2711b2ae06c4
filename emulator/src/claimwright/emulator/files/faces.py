"""All files of a node together, for the ways to serve them: alone, or added to a real machine."""

from __future__ import annotations

from functools import partial

from claimwright.emulator.files import dev, mig, numa, procfs, sysfs
from claimwright.emulator.files.majors import Majors
from claimwright.emulator.files.parts import Part, Subject, rendered
from claimwright.emulator.files.procfs import MachineListings
from claimwright.emulator.files.tree import Tree
from claimwright.emulator.model import NodeState


def standing_alone(majors: Majors) -> tuple[Subject, ...]:
    """Return the subjects of a host root that stands alone: sys/, proc/ and dev/."""
    return (
        *sysfs.emulated_devices(majors),
        *sysfs.machine(),
        *procfs.whole(majors),
        mig.capabilities,
        partial(dev.device_nodes, majors=majors),
    )


def added_to_a_machine(majors: Majors, listings: MachineListings) -> tuple[Subject, ...]:
    """Return the subjects that are added to a real machine's sys/ and proc/; device nodes come apart.

    NUMA nodes are the emulated ones; processors and firmware stay the machine's.
    """
    return (
        *sysfs.emulated_devices(majors),
        numa.numa,
        *procfs.emulated_entries(),
        *procfs.listings(listings, majors),
        mig.capabilities,
    )


def unchanging(tree: Tree) -> Subject:
    """Return a subject of files that never change."""
    part = Part("unchanging", None, lambda: tree)
    return lambda _state: (part,)


def host_root(state: NodeState, majors: Majors | None = None) -> Tree:
    """Return a whole host root as a value."""
    return rendered(standing_alone(majors or Majors()), state)
