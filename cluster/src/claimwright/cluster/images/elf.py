"""Find the files that a program of this machine needs to run elsewhere: its loader and shared libraries."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from pathlib import Path

from claimwright.cluster import errors, programs
from claimwright.cluster.images.oci import ImageFile

_PT_INTERP = 3
_LISTED = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_MISSING = re.compile(r"^\s*(\S+) => not found$", re.MULTILINE)


def program_files(program: Path, *, libraries: Iterable[Path] = ()) -> dict[str, ImageFile]:
    """Return `program`, its loader and all shared libraries, by the paths that they have here.

    `libraries` are shared objects that are opened at run time and so are not found by looking; their own needs
    are added too. A static program needs nothing else. Raises InvalidRequest when a library is missing here.
    """
    found = {str(program): ImageFile(program, 0o755)}
    for elf in (program, *libraries):
        found[str(elf)] = ImageFile(elf, 0o755)
        for path in shared_objects(elf, interpreter(elf) or interpreter(program)):
            found[str(path)] = ImageFile(path, 0o755)
    return found


def shared_objects(elf: Path, loader: Path | None) -> list[Path]:
    """Return the loader and the libraries that it would map for `elf`; none for a static program."""
    if loader is None:
        return []
    # The loader itself knows about run paths, ld.so.cache and hardware variants: ld.so(8), --list.
    said = programs.run([loader, "--list", elf], timeout_seconds=20)
    if missing := _MISSING.findall(said):
        raise errors.InvalidRequest(f"{elf} needs {', '.join(missing)}, which this machine has not")
    return sorted({loader, *(Path(path) for path in _LISTED.findall(said))})


def interpreter(elf: Path) -> Path | None:
    """Return the loader that an ELF program asks for (PT_INTERP), None for a static one or a library."""
    with elf.open("rb") as stream:
        header = stream.read(64)
        if header[:6] != b"\x7fELF\x02\x01":
            raise errors.InvalidRequest(f"{elf} is no 64-bit little-endian ELF file")
        offset, size, count = (
            struct.unpack_from("<Q", header, 32)[0], *struct.unpack_from("<HH", header, 54)
        )  # fmt: skip
        stream.seek(offset)
        table = stream.read(size * count)
        for index in range(count):
            kind, _, place, _, _, length = struct.unpack_from("<IIQQQQ", table, index * size)
            if kind == _PT_INTERP:
                stream.seek(place)
                return Path(stream.read(length).rstrip(b"\0").decode())
    return None
