"""What a lab is made of, as values: QEMU, a kernel, a shell to start with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Qemu:
    """A QEMU: installed, or unpacked below `root`, whose folders it must be told of."""

    program: Path
    root: Path | None = None

    @property
    def arguments(self) -> list[str]:
        """Where its firmware is."""
        if self.root is None:
            return []
        return [part for name in ("qemu", "seabios") for part in ("-L", str(self.root / "usr/share" / name))]

    @property
    def environment(self) -> dict[str, str]:
        """Where its libraries and its own modules (TCG is one in Debian's) are."""
        if self.root is None:
            return {}
        libraries = library_folders(self.root)
        modules = next((folder / "qemu" for folder in libraries if (folder / "qemu").is_dir()), self.root)
        return {"LD_LIBRARY_PATH": ":".join(map(str, libraries)), "QEMU_MODULE_DIR": str(modules)}


@dataclass(frozen=True, slots=True)
class Kernel:
    """A built kernel: a folder with `bzImage`, `modules/*.ko`, and `release` in words."""

    folder: Path

    @property
    def image(self) -> Path:
        """What QEMU starts."""
        return self.folder / "bzImage"

    @property
    def modules(self) -> list[Path]:
        """Its loadable parts."""
        return sorted((self.folder / "modules").glob("*.ko"))

    @property
    def release(self) -> str:
        """Its version, such as 6.12.117-claimwright-lab."""
        return (self.folder / "release").read_text().strip()


@dataclass(frozen=True, slots=True)
class Lab:
    """Everything that a run needs."""

    qemu: Qemu
    kernel: Kernel
    busybox: Path


def library_folders(root: Path) -> list[Path]:
    """Return where libraries lie in an unpacked root, Debian's folders per architecture first."""
    found = [folder for base in ("usr/lib", "lib") for folder in (root / base).glob("*-linux-gnu")]
    return [*found, *(folder for base in ("usr/lib", "lib") if (folder := root / base).is_dir())]
