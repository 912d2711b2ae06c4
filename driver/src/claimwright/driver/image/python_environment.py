"""What of this Python the driver needs: the interpreter, its standard library, and the driver's distributions."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from claimwright.driver.errors import NodeUnusable
from claimwright.driver.image.tree import Content

PREFIX: Final = PurePosixPath("/usr/local")
PACKAGES: Final = PREFIX / "lib" / "claimwright"
"""Where distributions are; on PYTHONPATH, because distributions patch which folders Python looks in by itself."""

ROOT_DISTRIBUTION: Final = "claimwright-driver"
_OWN: Final = "claimwright-"
# Tests, tools of developers, windows: nothing that a driver imports.
_STDLIB_LEFT_OUT: Final = frozenset(
    {"__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo"}
    | {"turtle.py", "ensurepip", "lib2to3", "pydoc_data", "__phello__"}
)
_STDLIB_PATTERNS_LEFT_OUT: Final = re.compile(
    r"config-.*|_?tkinter\..*|_test.*|_ctypes_test.*|xx.*|.*\.(a|o|pyc|exe)"
)
_PACKAGE_SUFFIXES_LEFT_OUT: Final = (".pyc", ".pyi", ".pxd", ".pyx", ".h", ".c", ".cc", ".pth")
_METADATA_KEPT: Final = re.compile(
    r"METADATA|entry_points\.txt|(LICEN[CS]E|NOTICE|COPYING|AUTHORS).*", re.IGNORECASE
)
_REQUIRED: Final = re.compile(r"\s*([A-Za-z0-9][-\w.]*)[^;]*(?:;(.*))?", re.ASCII)


@dataclass(frozen=True)
class Python:
    """The interpreter behind this process, outside of any virtual environment."""

    program: Path
    stdlib: Path
    version: str

    @classmethod
    def here(cls) -> Python:
        """Return the one that runs this."""
        program = Path(getattr(sys, "_base_executable", "") or sys.executable).resolve()
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return cls(program, Path(sysconfig.get_path("stdlib")), version)

    @property
    def place(self) -> PurePosixPath:
        """Its path in the image."""
        return PREFIX / "bin" / f"python{self.version}"

    def files(self) -> dict[PurePosixPath, Content]:
        """Return interpreter and standard library."""
        folder = PREFIX / "lib" / f"python{self.version}"
        library = {folder / path.relative_to(self.stdlib): _content(path) for path in _stdlib(self.stdlib)}
        return {self.place: Content(self.program, mode=0o755), **library}


def third_party() -> dict[PurePosixPath, Content]:
    """Return the files of every distribution that the driver needs and that is not of this project."""
    found: dict[PurePosixPath, Content] = {}
    for distribution in _closure(ROOT_DISTRIBUTION):
        if not _name(distribution).startswith(_OWN):
            found |= dict(_installed(distribution))
    return found


def own() -> dict[PurePosixPath, Content]:
    """Return the rooms that the driver needs, from where this process imports them."""
    found: dict[PurePosixPath, Content] = {}
    for distribution in _closure(ROOT_DISTRIBUTION):
        if _name(distribution).startswith(_OWN):
            room = _name(distribution).removeprefix(_OWN)
            found |= dict(_sources(room)) | dict(_metadata(distribution))
    return found


def _stdlib(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in _STDLIB_LEFT_OUT or _STDLIB_PATTERNS_LEFT_OUT.fullmatch(path.name):
            continue
        if path.is_dir():
            yield from _stdlib(path)
        elif path.is_file():
            yield path


def _closure(root: str) -> list[importlib.metadata.Distribution]:
    """Return a distribution and all that it requires here, sorted by name."""
    found: dict[str, importlib.metadata.Distribution] = {}
    wanted = [root]
    while wanted:
        name = _normal(wanted.pop())
        if name not in found:
            found[name] = _distribution(name)
            wanted += _requirements(found[name].requires or ())
    return [found[name] for name in sorted(found)]


def _requirements(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        match = _REQUIRED.match(line)
        assert match is not None, line
        name, marker = match[1], match[2] or ""
        # An extra was not asked for; another marker holds here exactly when the installer installed it.
        if "extra" not in marker and (not marker or _is_installed(name)):
            yield name


def _is_installed(name: str) -> bool:
    return next(iter(importlib.metadata.distributions(name=name)), None) is not None


def _distribution(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise NodeUnusable(
            f"{name} is not installed in this Python: pip install {ROOT_DISTRIBUTION}"
        ) from error


def _installed(distribution: importlib.metadata.Distribution) -> Iterator[tuple[PurePosixPath, Content]]:
    for listed in distribution.files or ():
        inside = PurePosixPath(listed)
        if (
            ".." in inside.parts
            or "__pycache__" in inside.parts
            or inside.suffix in _PACKAGE_SUFFIXES_LEFT_OUT
        ):
            continue
        if inside.parts[0].endswith(".dist-info") and not _METADATA_KEPT.fullmatch(inside.name):
            continue
        yield PACKAGES / inside, _content(Path(str(distribution.locate_file(listed))))


def _sources(room: str) -> Iterator[tuple[PurePosixPath, Content]]:
    found = importlib.util.find_spec(f"claimwright.{room}")
    assert found is not None, room
    for folder in map(Path, found.submodule_search_locations or ()):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyi":
                yield PACKAGES / "claimwright" / room / path.relative_to(folder), _content(path)


def _metadata(distribution: importlib.metadata.Distribution) -> Iterator[tuple[PurePosixPath, Content]]:
    folder = PACKAGES / f"{_name(distribution).replace('-', '_')}-{distribution.version}.dist-info"
    for name in ("METADATA", "entry_points.txt"):
        if (text := distribution.read_text(name)) is not None:
            yield folder / name, Content(data=text.encode())


def _content(path: Path) -> Content:
    return Content(path, mode=0o755 if ".so" in path.suffixes else 0o644)


def _name(distribution: importlib.metadata.Distribution) -> str:
    return _normal(distribution.metadata["Name"])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
