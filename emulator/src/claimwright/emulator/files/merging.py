"""Compose a folder that has all of a real one and the emulated entries beside them, and put it in its place.

One tmpfs per folder: every real child is bound into it (links are copied: they are relative, and stay true in
the same place), the emulated entries are written, and the whole is moved over the real folder in one step, so
that nobody sees half of it. Only the children of folders that both sides have are bound one by one.
"""

from __future__ import annotations

import os
from pathlib import Path

from claimwright.emulator.errors import MountRefused
from claimwright.emulator.files.plain import PlainTree
from claimwright.emulator.files.syscalls import MountFlag, mount
from claimwright.emulator.files.tree import Tree, below, folders


def stage(folder: str, stage_at: str, tree: Tree, label: str, *, devices: bool = False) -> None:
    """Mount a tmpfs at `stage_at` holding the real `/folder` and the part of `tree` inside it.

    `label` becomes the mount's source, by which it is found again. MountRefused when both sides have one
    entry.
    """
    mount_tmpfs(stage_at, label, devices=devices)
    fill(folder, f"/{folder}", stage_at, tree)
    PlainTree(Path(stage_at), real_devices=devices).show(below(tree, folder))


def mount_tmpfs(target: str, label: str, *, devices: bool = False) -> None:
    """Mount a private, labelled tmpfs."""
    flags = MountFlag.NOSUID | MountFlag.NOEXEC | (MountFlag(0) if devices else MountFlag.NODEV)
    mount(label, target, "tmpfs", flags, "mode=0755")
    mount(
        "", target, flags=MountFlag.PRIVATE
    )  # a mount cannot be moved out of a shared one (mount(2), EINVAL)


def fill(folder: str, real: str, target: str, tree: Tree) -> None:
    """Bring every child of the real folder into `target`; go on inside where the tree does too."""
    inside = set(below(tree, folder)) | folders(below(tree, folder))
    with os.scandir(real) as children:
        for child in children:
            path = f"{folder}/{child.name}"
            if child.name in inside:
                _check_shared(path)
            if child.is_symlink():
                if child.name not in inside:
                    Path(target, child.name).symlink_to(Path(child.path).readlink())
            elif child.is_dir():
                _bring_folder(path, child, f"{target}/{child.name}", tree, goes_on=child.name in inside)
            elif child.name not in inside:
                Path(target, child.name).touch()
                mount(child.path, f"{target}/{child.name}", flags=MountFlag.BIND)


def _bring_folder(path: str, child: os.DirEntry[str], target: str, tree: Tree, *, goes_on: bool) -> None:
    Path(target).mkdir()
    if goes_on:
        fill(path, child.path, target, tree)
    else:
        mount(child.path, target, flags=MountFlag.BIND | MountFlag.REC)


def _check_shared(path: str) -> None:
    """Refuse an entry that both sides have, unless it lies where both may."""
    if path.startswith(("sys/devices/pci", "sys/bus/pci/devices/")):
        raise MountRefused(
            f"/{path} exists on this machine: real and emulated hardware would mix; "
            "use a node profile with other PCI buses"
        )
