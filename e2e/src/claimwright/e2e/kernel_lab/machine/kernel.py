"""Build the lab's kernel from the distribution's source package, once, into the cache."""

from __future__ import annotations

import os
import re
import shutil
from importlib.resources import files
from pathlib import Path

from claimwright.cluster import Progress
from claimwright.cluster.programs import run
from claimwright.e2e.kernel_lab.errors import LabError
from claimwright.e2e.kernel_lab.machine.mortality import mortal_group
from claimwright.e2e.kernel_lab.machine.parts import library_folders

SOURCE_PACKAGE = (
    "linux-source-6.12"  # the oldest of Debian's with IOMMUFD and VFIO's device nodes in all releases
)
_BUILD_SECONDS = 3600.0
_STEP_SECONDS = 300.0
_MODULES = ("drivers/vfio/mdev/mdev.ko", "samples/vfio-mdev/mtty.ko")
_WANTED = re.compile(r"^(CONFIG_\w+)=(.+)$", re.MULTILINE)


def fragment() -> str:
    """Return the project's part of the configuration."""
    return files(__package__).joinpath("kernel.config").read_text()


def build_kernel(tools: Path, archive: Path, scratch: Path, progress: Progress) -> Path:
    """Build from the source `archive` with the unpacked `tools`; return a folder with the kernel's parts.

    Raises ProgramFailed with the end of what make said, LabError when the source does not know an option.
    """
    source, made = scratch / "source", scratch / "kernel"
    source.mkdir()
    with progress.step(f"unpacking {archive.name}"):
        run(["tar", "-xf", archive, "-C", source, "--strip-components=1"], timeout_seconds=_STEP_SECONDS)
    with progress.step("building the lab's kernel (five to six minutes on two idle cores, once)"):
        _configure(source, tools)
        _make(source, tools, f"-j{os.cpu_count() or 1}", "bzImage", "modules", seconds=_BUILD_SECONDS)
    _gather(source, tools, made)
    with progress.step("removing the kernel's source"):
        shutil.rmtree(source, ignore_errors=True)
    return made


def _configure(source: Path, tools: Path) -> None:
    _make(source, tools, "tinyconfig")
    with (source / ".config").open("a") as config:
        config.write(fragment())
    _make(source, tools, "olddefconfig")
    refuse_dropped(fragment(), (source / ".config").read_text())


def refuse_dropped(wanted: str, config: str) -> None:
    """Raise LabError when a configuration lacks a wanted option: olddefconfig drops silently what it cannot have."""
    has = dict(_WANTED.findall(config))
    if dropped := [
        f"{name}={value}" for name, value in _WANTED.findall(wanted) if has.get(name, "n") != value
    ]:
        raise LabError(f"the kernel's source does not give {', '.join(dropped)}: kernel.config needs an edit")


def _make(source: Path, tools: Path, *targets: str, seconds: float = _STEP_SECONDS) -> str:
    return run(
        mortal_group(["nice", "-n", "10", "make", "--silent", *targets]),
        cwd=source, timeout_seconds=seconds, environment=_environment(tools),
    )  # fmt: skip


def _environment(tools: Path) -> dict[str, str]:
    """Return an environment in which flex, bison, m4, bc and libelf are found below `tools`."""
    libraries = ":".join(map(str, library_folders(tools)))
    return {
        **os.environ,
        "PATH": f"{tools / 'usr/bin'}:{os.environ['PATH']}",
        "BISON_PKGDATADIR": str(_first(tools / "usr/share/bison", Path("/usr/share/bison"))),
        "M4": str(_first(tools / "usr/bin/m4", Path("/usr/bin/m4"))),
        "C_INCLUDE_PATH": str(tools / "usr/include"),
        "LIBRARY_PATH": libraries,
        "LD_LIBRARY_PATH": libraries,
    }


def _first(unpacked: Path, installed: Path) -> Path:
    return unpacked if unpacked.exists() else installed


def _gather(source: Path, tools: Path, made: Path) -> None:
    (made / "modules").mkdir(parents=True)
    shutil.copy(source / "arch/x86/boot/bzImage", made / "bzImage")
    shutil.copy(source / ".config", made / "config")
    for module in _MODULES:
        shutil.copy(source / module, made / "modules")
    (made / "release").write_text(_make(source, tools, "kernelrelease"))
