"""What the node process asks of the mount worker."""

from __future__ import annotations

from dataclasses import dataclass

from claimwright.emulator.files.tree import Tree


@dataclass(frozen=True, slots=True)
class AttachJob:
    """Add these trees to a namespace; every mount carries the label as its source."""

    namespace: str
    label: str
    tree: Tree
    devices: Tree
    proc_devices: str


@dataclass(frozen=True, slots=True)
class DetachJob:
    """Take everything of this label off a namespace; `devices` are (path, device number) in its own /dev."""

    namespace: str
    label: str
    devices: tuple[tuple[str, int], ...]
