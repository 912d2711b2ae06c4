"""A capture: what one machine said of itself, as leaves `path = value`, one a line.

    claimwright capture 1
    machine.product = Example server
    gpu.0.memory.total_mib = 81559

Lines that begin with `#` and empty lines say nothing. Paths are unique; a value is everything after ` = `. The order
has no meaning; captures are written sorted so that two of them can be compared with diff.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from claimwright.emulator.captures.errors import CaptureError

HEADER = "claimwright capture 1"

_PATH = re.compile(r"[A-Za-z0-9_:@-]+(\.[A-Za-z0-9_:@-]+)*")
_NUMBER = re.compile(r"[0-9]+")
_VALUE = re.compile(r"-?((?P<hex>0x[0-9a-fA-F]{1,16})|[0-9]{1,18})")
_MOST_LEAVES, _MOST_BYTES = 100_000, 16 << 20


@dataclass(frozen=True, slots=True)
class Capture:
    """Leaves by path; numbers of devices are parts of paths, as in `gpu.0.name`.

    `source` and `lines` say where they were read, for those who find fault with one.
    """

    leaves: Mapping[str, str]
    source: str = field(default="", compare=False)
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)

    def text(self) -> str:
        """Write it down."""
        lines = (f"{path} = {self.leaves[path]}\n" for path in sorted(self.leaves, key=_natural))
        return f"{HEADER}\n{''.join(lines)}"

    def below(self, prefix: str) -> Part:
        """Return the leaves below a path, by what follows it."""
        start = f"{prefix}."
        found = {
            path.removeprefix(start): value for path, value in self.leaves.items() if path.startswith(start)
        }
        return Part(self, prefix, found)

    def refused(self, path: str, reason: str) -> CaptureError:
        """Return the error that says what is wrong with a leaf, and where it was read."""
        line = self.lines.get(path)
        where = f"{self.source}:{line}: " if line else f"{self.source}: " if self.source else ""
        return CaptureError(f"{where}{path}: {reason}")

    def numbers(self, prefix: str) -> list[str]:
        """Return the names just below a path, in order: `numbers("gpu")` gives ["0", "1"]."""
        return sorted({path.split(".", 1)[0] for path in self.below(prefix)}, key=_natural)

    def need(self, path: str) -> str:
        """Return a leaf; CaptureError when the machine did not say it."""
        if path not in self.leaves:
            raise self.refused(path, "not in the capture; a profile cannot do without")
        return self.leaves[path]


@dataclass(frozen=True, slots=True, eq=False)
class Part(Mapping[str, str]):
    """The leaves of one device of a capture, by what follows its number."""

    capture: Capture
    prefix: str
    leaves: Mapping[str, str]

    def __getitem__(self, path: str) -> str:
        return self.leaves[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self.leaves)

    def __len__(self) -> int:
        return len(self.leaves)

    def refused(self, path: str, reason: str) -> CaptureError:
        """Return the error that says what is wrong with a leaf, and where it was read."""
        return self.capture.refused(f"{self.prefix}.{path}", reason)

    def need(self, path: str) -> str:
        """Return a leaf; CaptureError when the machine did not say it."""
        return self.capture.need(f"{self.prefix}.{path}")


def parse_capture(text: str, source: str) -> Capture:
    """Read a capture; CaptureError gives source, line and reason."""
    lines = text.split("\n")
    if lines[0].rstrip("\r") != HEADER:
        raise CaptureError(
            f"{source}:1: expected {HEADER!r} or the XML of `nvidia-smi -q -x`, found {lines[0][:60]!r}"
        )
    if len(lines) > _MOST_LEAVES:
        raise CaptureError(f"{source}: more than {_MOST_LEAVES} lines are no capture of one machine")
    leaves: dict[str, str] = {}
    places: dict[str, int] = {}
    for number, line in enumerate(lines[1:], start=2):
        if line and not line.startswith("#"):
            path, value = _leaf(line, f"{source}:{number}")
            if path in leaves:
                raise CaptureError(
                    f"{source}:{number}: {path!r} is given twice, first in line {places[path]}"
                )
            leaves[path], places[path] = value, number
    return Capture(leaves, source, places)


def read_text(path: Path) -> str:
    """Return a capture file's text; CaptureError says why it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise CaptureError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise CaptureError(f"{path}: larger than {_MOST_BYTES >> 20} MiB")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CaptureError(
            f"{path}: neither a capture nor the XML of `nvidia-smi -q -x`: not UTF-8 text (byte {error.start})"
        ) from None


def _leaf(line: str, place: str) -> tuple[str, str]:
    path, equals, value = line.partition(" = ")
    if not equals:
        raise CaptureError(f"{place}: expected `path = value`, found {line[:60]!r}")
    if not _PATH.fullmatch(path):
        raise CaptureError(f"{place}: {path[:60]!r} is no path of a leaf")
    if not value.isprintable():
        raise CaptureError(f"{place}: {path}: the value has control characters")
    return path, value


def _natural(path: str) -> list[tuple[int, str]]:
    """Sort numbers by value: gpu.2 before gpu.10."""
    return [(int(part), "") if _NUMBER.fullmatch(part) else (1 << 62, part) for part in path.split(".")]


def number(leaves: Capture | Part, path: str, otherwise: int | None = None) -> int:
    """Return a leaf as a number, decimal or 0x hex; CaptureError names it when it is none or missing."""
    told = leaves.leaves
    if path not in told and otherwise is not None:
        return otherwise
    found = _VALUE.fullmatch(told.get(path, ""))
    if found is None:
        said = (
            f"{told[path][:60]!r} is no number" if path in told else "not in the capture; a number is needed"
        )
        raise leaves.refused(path, said)
    return int(found[0], 16 if found["hex"] else 10)
