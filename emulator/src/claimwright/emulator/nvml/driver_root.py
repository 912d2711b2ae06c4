"""A driver root as a container toolkit and a DRA driver look for it: libraries, tools, and the persistence socket."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from claimwright.emulator.nvml import compiling
from claimwright.emulator.nvml.errors import NotCompiled

LIBRARY_FOLDER = "usr/lib/x86_64-linux-gnu"
SOCKET = "run/nvidia-persistenced/socket"
_PROGRAMS = (
    compiling.NVIDIA_SMI,
    compiling.CDI_HOOK,
    compiling.IMEX,
    compiling.IMEX_CTL,
    compiling.FMPM,
    compiling.MPS_CONTROL,
    compiling.MPS_SERVER,
)


@dataclass(frozen=True, slots=True)
class DriverRoot:
    """The composed folder; the library finds `socket_path` from its own place in it."""

    path: Path
    library_dir: Path
    nvidia_smi: Path
    socket_path: Path


def compose(folder: Path, driver_version: str) -> DriverRoot:
    """Write the driver root of this version; idempotent. Compiles first what is not compiled yet.

    Raises NotCompiled (naming the package to install) where neither compiled files nor a compiler exist.
    """
    try:
        compiling.compile_all()
    except (compiling.CompilerMissing, compiling.CompileFailed) as error:
        raise NotCompiled(str(error)) from error
    libraries, programs = folder / LIBRARY_FOLDER, folder / "usr/bin"
    socket_path = folder / SOCKET
    for made in (libraries, programs, socket_path.parent, folder / "etc"):
        made.mkdir(parents=True, exist_ok=True)
    for target in (compiling.LIBRARY, compiling.LIBCUDA):
        _install_library(target.path, libraries, driver_version)
    _install(
        compiling.NVFM.path, libraries / compiling.NVFM.name
    )  # named by its interface, not by the driver
    _link(libraries / "libnvfm.so", compiling.NVFM.name)
    for program in _PROGRAMS:
        _install(program.path, programs / program.name)
    return DriverRoot(folder, libraries, programs / "nvidia-smi", socket_path)


def _install_library(compiled: Path, folder: Path, version: str) -> None:
    """Install `libX.so.<version>` and the link of its SONAME, as NVIDIA's installer names them."""
    stem = compiled.name.removesuffix(".1")
    _install(compiled, folder / f"{stem}.{version}")
    _link(folder / compiled.name, f"{stem}.{version}")
    if stem == "libcuda.so":  # programs built without a SONAME look for this one
        _link(folder / stem, compiled.name)


def _install(source: Path, destination: Path) -> None:
    """Replace a file in one step: a process may be running the old one."""
    fresh = destination.with_name(f".{destination.name}.{os.getpid()}")
    shutil.copyfile(source, fresh)
    fresh.chmod(0o755)
    fresh.replace(destination)


def _link(link: Path, target: str) -> None:
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)
