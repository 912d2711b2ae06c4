"""The shared libraries that the files of a tree need besides each other: the loader of this machine names them."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from claimwright.driver.errors import NodeUnusable
from claimwright.driver.image.tree import Content

# Folders of the system's own libraries: the loader has them built in, so they keep their place.
_SYSTEM: Final = ("/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/")
_DEFAULT: Final = PurePosixPath("/usr/lib")
# Programs of the driver installation, such as nvidia-smi, ask for these by names of older C libraries.
_FOR_FOREIGN_PROGRAMS: Final = ("libdl.so.2", "libpthread.so.0", "librt.so.1", "libm.so.6")
_LISTED: Final = re.compile(r"^\s*(\S+) => (/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_MISSING: Final = re.compile(r"^\s*(\S+) => not found$", re.MULTILINE)
_PT_INTERP: Final = 3
_SECONDS: Final = 20.0


def needed(program: Path, others: Iterable[Path]) -> dict[PurePosixPath, Content]:
    """Return loader and libraries of `program` and of the shared objects `others`, by their path in the image.

    NodeUnusable names a library that this machine lacks.
    """
    loader = interpreter(program)
    if loader is None:
        return {}
    elves = [program, *others]
    system = _system_folder(_libraries(loader, program))
    own = {path.resolve() for path in elves}
    found: dict[PurePosixPath, Content] = {PurePosixPath(loader): Content(loader, mode=0o755)}
    for elf in elves:
        for name, path in _libraries(loader, elf):
            if path.resolve() not in own:
                found[_place(name, path, system)] = Content(path, mode=0o755)
    return found | _foreign(found)


def interpreter(program: Path) -> Path | None:
    """Return the loader that an ELF program asks for, None for a static one; NodeUnusable for other files."""
    with program.open("rb") as stream:
        header = stream.read(64)
        if header[:6] != b"\x7fELF\x02\x01":
            raise NodeUnusable(f"{program} is no 64-bit little-endian ELF program: use a compiled Python")
        offset = struct.unpack_from("<Q", header, 32)[0]
        size, count = struct.unpack_from("<HH", header, 54)
        stream.seek(offset)
        table = stream.read(size * count)
        for start in range(0, size * count, size):
            kind, _, place, _, _, length = struct.unpack_from("<IIQQQQ", table, start)
            if kind == _PT_INTERP:
                stream.seek(place)
                return Path(stream.read(length).rstrip(b"\0").decode())
    return None


def _libraries(loader: Path, elf: Path) -> Iterator[tuple[str, Path]]:
    # ld.so(8) --list: the loader itself knows run paths, its cache and hardware variants.
    said = subprocess.run(
        [loader, "--list", elf], capture_output=True, text=True, timeout=_SECONDS, check=False
    ).stdout
    if missing := _MISSING.findall(said):
        raise NodeUnusable(f"{elf} needs {', '.join(missing)}, which this machine has not")
    for name, path in _LISTED.findall(said):
        yield name, Path(path)


def _system_folder(libraries: Iterable[tuple[str, Path]]) -> PurePosixPath:
    """Return the folder of the C library, where the loader looks for every other one too."""
    return next(
        (PurePosixPath(path.parent) for name, path in libraries if name.startswith("libc.so.")), _DEFAULT
    )


def _place(name: str, path: Path, system: PurePosixPath) -> PurePosixPath:
    return PurePosixPath(path) if str(path).startswith(_SYSTEM) else system / name


def _foreign(found: dict[PurePosixPath, Content]) -> dict[PurePosixPath, Content]:
    libc = next((path for path in found if path.name.startswith("libc.so.")), None)
    if libc is None:
        return {}
    beside = (libc.parent / name for name in _FOR_FOREIGN_PROGRAMS)
    return {path: Content(Path(path), mode=0o755) for path in beside if Path(path).is_file()}
