"""The image as a whole: three layers, from what seldom changes to what often does, and how it is started."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from claimwright.driver import resident_memory
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.image import bytecode, oci_layout, shared_objects
from claimwright.driver.image.python_environment import PACKAGES, PREFIX, Python, own, third_party
from claimwright.driver.image.tree import Content, Link, Tree, lay_out

_START: Final = """#!{python}
from claimwright.cli.main import main
main()
"""
# Programs of the host, such as modprobe, are run inside its root.
_CHROOT: Final = """#!{python} -IS
import os
import sys
os.chroot(sys.argv[1])
os.chdir("/")
os.execvp(sys.argv[2], sys.argv[2:])
"""
SETTINGS: Final[dict[str, Any]] = {
    "Entrypoint": ["claimwright"],
    "Env": [
        f"PATH={PREFIX}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        f"PYTHONPATH={PACKAGES}",
        "PYTHONUTF8=1",
        "PYTHONDONTWRITEBYTECODE=1",
        *(f"{name}={value}" for name, value in resident_memory.ENVIRONMENT.items()),
    ],
    "Labels": {
        "org.opencontainers.image.title": "claimwright-driver",
        "org.opencontainers.image.licenses": "Apache-2.0",
    },
    "WorkingDir": "/",
}


def layers(scratch: Path) -> tuple[Tree, Tree, Tree]:
    """Return what the image holds: Python, packages, the driver. Compiled modules are kept in `scratch`."""
    python = Python.here()
    packages, rooms = third_party(), own()
    base = {**python.files(), **extras(python)}
    elves = sorted(
        entry.source
        for path, entry in {**base, **packages}.items()
        if isinstance(entry, Content) and entry.source is not None and ".so" in path.suffixes
    )
    base |= shared_objects.needed(python.program, elves)
    return _with_bytecode(base, scratch), _with_bytecode(packages, scratch), _with_bytecode(rooms, scratch)


def write_image(target: Path, *, reference: str = oci_layout.REFERENCE) -> None:
    """Write the image to `target` as a tar of the OCI layout; NodeUnusable when it cannot be made here."""
    _check_folder(target)
    with tempfile.TemporaryDirectory(prefix="claimwright-image-") as scratch:
        oci_layout.write_layout(target, layers(Path(scratch)), SETTINGS, reference=reference)


def write_tree(folder: Path) -> None:
    """Write the image's file system below `folder`, which must be empty or missing: for a Dockerfile."""
    if folder.exists() and any(folder.iterdir()):
        raise NodeUnusable(f"--tree {str(folder)!r} is not empty: name a new folder")
    with tempfile.TemporaryDirectory(prefix="claimwright-image-") as scratch:
        for layer in layers(Path(scratch)):
            lay_out(layer, folder)


def extras(python: Python) -> dict[PurePosixPath, Content | Link]:
    """Return the commands of the image, and the folders that a runtime mounts on."""
    scripts = {"claimwright": _START, "chroot": _CHROOT}
    return {
        **{
            PREFIX / "bin" / name: Content(data=text.format(python=python.place).encode(), mode=0o755)
            for name, text in scripts.items()
        },
        PREFIX / "bin" / "python3": Link(python.place.name),
        # Where the runtime mounts, and where signals.py writes stacks.
        **{
            PurePosixPath(f"/{folder}/.keep"): Content()
            for folder in ("dev", "mnt", "proc", "run", "sys", "tmp")
        },
    }


def _with_bytecode(tree: Tree, scratch: Path) -> Tree:
    folder = Path(tempfile.mkdtemp(dir=scratch))
    return {**tree, **bytecode.compiled(tree, folder)}


def _check_folder(target: Path) -> None:
    if not target.parent.is_dir():
        raise NodeUnusable(f"--output {str(target)!r}: there is no folder {str(target.parent)!r}")


def settings_as_dockerfile() -> Sequence[str]:
    """Return the lines of a Dockerfile that say the same as the image's settings."""
    entry = ", ".join(f'"{word}"' for word in SETTINGS["Entrypoint"])
    return (*(f"ENV {pair}" for pair in SETTINGS["Env"]), f"ENTRYPOINT [{entry}]")
