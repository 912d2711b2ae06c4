"""Find the lab's parts, or bring them: from PATH, from the cache, from the distribution's packages, unpacked there.

Nothing of the system changes. The cache is `$XDG_CACHE_HOME/claimwright/kernel-lab/`: `programs/` holds an unpacked
QEMU and busybox where the system has none, `kernel-DIGEST/` a built kernel per configuration.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
from pathlib import Path

from claimwright.cluster import ClusterError, Progress
from claimwright.cluster.binaries import Cache
from claimwright.cluster.binaries.debian import unpack_with_needs
from claimwright.cluster.folders import cache_folder
from claimwright.cluster.images.elf import interpreter
from claimwright.e2e.kernel_lab.errors import LabError, LabIncomplete
from claimwright.e2e.kernel_lab.machine.kernel import SOURCE_PACKAGE, build_kernel, fragment
from claimwright.e2e.kernel_lab.machine.parts import Kernel, Lab, Qemu

PREPARE = "claimwright kernel-lab prepare"
_QEMU = "qemu-system-x86_64"
_COMPILING = ("gcc", "make", "perl", "tar", "xz")  # what a package unpacked in a corner does not give
_BUILD_PACKAGES = {"flex": "flex", "bison": "bison", "bc": "bc"}


def lab_folder() -> Path:
    """Return where the lab's parts are kept."""
    return cache_folder() / "kernel-lab"


def find_lab() -> Lab:
    """Return the lab when all its parts are here; LabIncomplete names those that are not."""
    qemu, busybox, kernel = _find_qemu(), _find_busybox(), _find_kernel()
    if qemu is None or busybox is None or kernel is None:
        parts = {"QEMU (qemu-system-x86_64)": qemu, "a static busybox": busybox, "the lab's kernel": kernel}
        missing = ", ".join(name for name, part in parts.items() if part is None)
        raise LabIncomplete(f"the kernel lab lacks {missing}: `{PREPARE}` brings them{_last_refusal()}")
    return Lab(qemu, kernel, busybox)


def prepare_lab(progress: Progress) -> Lab:
    """Bring what is missing, once; two that call it at a time share the work.

    Raises LabError that says what could not be had and why; `find_lab` repeats it until it has worked.
    """
    cache = Cache(lab_folder())
    try:
        with cache.locked(progress):
            shutil.rmtree(
                lab_folder() / "scratch", ignore_errors=True
            )  # of one that was killed: we have the lock
            with cache.scratch() as scratch:
                _bring(scratch, progress)
    except (ClusterError, LabError) as error:
        _refusal().write_text(str(error))
        raise LabError(f"the kernel lab cannot be prepared: {error}") from error
    _refusal().unlink(missing_ok=True)
    return find_lab()


def _sweep(left: Path, progress: Progress) -> None:
    """Remove what a killed preparation left: nobody else can be at work, since we have the lock."""
    if left.is_dir() and any(left.iterdir()):
        with progress.step("removing what an interrupted preparation left"):
            shutil.rmtree(left, ignore_errors=True)


def _bring(scratch: Path, progress: Progress) -> None:
    if platform.machine() != "x86_64":
        raise LabError(f"it is for x86-64 machines, this is {platform.machine()}")
    _bring_programs(scratch, progress)
    _bring_kernel(scratch, progress)


def _last_refusal() -> str:
    try:
        return f"; its last try: {_refusal().read_text()}"
    except FileNotFoundError:
        return ""


def _refusal() -> Path:
    return lab_folder() / "refused"


def _bring_programs(scratch: Path, progress: Progress) -> None:
    names = [
        name
        for name, part in (("qemu-system-x86", _find_qemu()), ("busybox-static", _find_busybox()))
        if part is None
    ]
    if names:
        unpacked = unpack_with_needs(names, scratch / "programs", scratch, progress)
        _install(unpacked, _programs())


def _bring_kernel(scratch: Path, progress: Progress) -> None:
    if _find_kernel() is not None:
        return
    if missing := [name for name in _COMPILING if shutil.which(name) is None]:
        raise LabError(f"the lab's kernel needs {', '.join(missing)} to be built: install them and try again")
    tools = scratch / "tools"
    tools.mkdir()
    archive = _source(Path("/usr/src"))
    names = [] if archive else [SOURCE_PACKAGE]
    names += [package for program, package in _BUILD_PACKAGES.items() if shutil.which(program) is None]
    names += [] if Path("/usr/include/gelf.h").exists() else ["libelf-dev"]
    if names:
        unpack_with_needs(names, tools, scratch, progress)
    archive = archive or _source(tools / "usr/src")
    if archive is None:
        raise LabError(f"package {SOURCE_PACKAGE} holds no {SOURCE_PACKAGE}.tar.*")
    _install(build_kernel(tools, archive, scratch, progress), _kernel_folder())


def _install(made: Path, place: Path) -> None:
    """Move a finished folder into its place; what was there is of an older make."""
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    made.rename(place)


def _find_qemu() -> Qemu | None:
    if found := shutil.which(_QEMU):
        return Qemu(Path(found))
    unpacked = _programs() / "usr/bin" / _QEMU
    return Qemu(unpacked, _programs()) if unpacked.exists() else None


def _find_busybox() -> Path | None:
    places = [*(_programs() / folder / "busybox" for folder in ("bin", "usr/bin"))]
    if found := shutil.which("busybox"):
        places.insert(0, Path(found))
    return next((place for place in places if place.exists() and interpreter(place) is None), None)


def _find_kernel() -> Kernel | None:
    kernel = Kernel(_kernel_folder())
    return kernel if kernel.image.exists() else None


def _source(folder: Path) -> Path | None:
    return next(iter(sorted(folder.glob(f"{SOURCE_PACKAGE}.tar.*"))), None)


def _programs() -> Path:
    return lab_folder() / "programs"


def _kernel_folder() -> Path:
    return lab_folder() / f"kernel-{hashlib.sha256(fragment().encode()).hexdigest()[:12]}"
