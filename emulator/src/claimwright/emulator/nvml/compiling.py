"""Compile the C of this package in place. Standard library only: the build hook loads this file by its path."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
COMPILED = PACKAGE / "_compiled"
_SECONDS = 300

_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-missing-field-initializers")
_SHARED = ("-fPIC", "-shared", "-fvisibility=hidden")


class CompilerMissing(Exception):
    """No C compiler."""

    def __init__(self, compiler: str) -> None:
        super().__init__(
            f"the C compiler {compiler!r} was not found: install it (Debian, Ubuntu: apt-get install gcc libc6-dev; "
            "Fedora: dnf install gcc glibc-devel glibc-static), or name another in CC, and try again"
        )


class CompileFailed(Exception):
    """The compiler refused a source of ours."""

    def __init__(self, target: str, output: str) -> None:
        super().__init__(f"compiling {target} failed:\n{output.strip()}")


@dataclass(frozen=True, slots=True)
class Target:
    """One compiled file: its name, its source under the package, and what the compiler needs besides."""

    name: str
    source: str
    flags: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Where it lies."""
        return COMPILED / self.name

    @property
    def stamp(self) -> Path:
        """Beside it: of which sources it was made."""
        # Without the suffix: git ignores *.so.*, and the wheel leaves out what git ignores.
        return COMPILED / f"{self.name.partition('.')[0]}.sources"

    @property
    def sources(self) -> tuple[Path, ...]:
        """Everything whose change asks for a new build."""
        folders = ((PACKAGE / self.source).parent, PACKAGE / "nvml/library/_generated")
        found = {path for folder in folders for path in folder.rglob("*") if path.suffix in {".c", ".h"}}
        return (Path(__file__), *sorted(found))


LIBRARY = Target("libnvidia-ml.so.1", "nvml/library/library.c", (*_SHARED, "-Wl,-soname,libnvidia-ml.so.1"))
LIBCUDA = Target("libcuda.so.1", "tools/source/libcuda.c", (*_SHARED, "-Wl,-soname,libcuda.so.1", "-ldl"))
NVIDIA_SMI = Target("nvidia-smi", "tools/source/nvidia_smi.c", ("-ldl",))
CDI_HOOK = Target("nvidia-cdi-hook", "tools/source/cdi_hook.c", ("-static",))
IMEX = Target("nvidia-imex", "tools/source/imex/nvidia_imex.c", ("-static",))
IMEX_CTL = Target("nvidia-imex-ctl", "tools/source/imex/imex_ctl.c", ("-static", "-Wno-unused-function"))
NVFM = Target("libnvfm.so.1", "tools/source/nvfm/nvfm.c", (*_SHARED, "-Wl,-soname,libnvfm.so.1"))
FMPM = Target("fmpm", "tools/source/nvfm/fmpm.c", ("-static",))
MPS_CONTROL = Target("nvidia-cuda-mps-control", "tools/source/mps/mps_control.c", ("-static",))
MPS_SERVER = Target("nvidia-cuda-mps-server", "tools/source/mps/mps_server.c", ("-static",))
TARGETS = (LIBRARY, LIBCUDA, NVIDIA_SMI, CDI_HOOK, IMEX, IMEX_CTL, NVFM, FMPM, MPS_CONTROL, MPS_SERVER)


def compile_all(*, force: bool = False) -> tuple[Path, ...]:
    """Compile what is missing or made of other sources; safe when several processes ask at once."""
    if not force and not any(_is_stale(target) for target in TARGETS):
        return ()  # an installed package may be read-only
    COMPILED.mkdir(exist_ok=True)
    with _one_at_a_time():
        stale = [target for target in TARGETS if force or _is_stale(target)]
        for target in stale:
            _compile(target)
    return tuple(target.path for target in stale)


def compile_to(target: Target, path: Path, *flags: str) -> None:
    """Compile one target to another place with more flags, such as a sanitizer's."""
    compiler = os.environ.get("CC", "gcc")
    if shutil.which(compiler) is None:
        raise CompilerMissing(compiler)
    command = [compiler, *_FLAGS, *flags, "-o", str(path), str(PACKAGE / target.source), *target.flags]
    made = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if made.returncode:
        raise CompileFailed(target.name, made.stderr)


def _compile(target: Target) -> None:
    fresh = target.path.with_name(f".{target.name}.new")
    compile_to(target, fresh, "-s")
    target.stamp.unlink(missing_ok=True)
    fresh.replace(target.path)
    target.stamp.write_text(_digest(target))


def _is_stale(target: Target) -> bool:
    """Compare contents, not times: a wheel's files are unpacked in any order."""
    if not target.path.exists() or not target.stamp.exists():
        return True
    return target.stamp.read_text() != _digest(target)


def _digest(target: Target) -> str:
    digest = hashlib.sha256()
    for source in target.sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    with (COMPILED / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Compile and say what was made."""
    try:
        made = compile_all(force="--force" in sys.argv[1:])
    except (CompilerMissing, CompileFailed) as error:
        print(error, file=sys.stderr)
        return 1
    for path in made:
        print(f"compiled {path}")
    return 0
