"""SHA256SUMS: one line per file of the bundle, in the format of sha256sum."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from claimwright.conformance.errors import UsageError
from claimwright.dra.files import write_atomically

SUMS: Final = "SHA256SUMS"
_LINE: Final = re.compile(r"(?P<sum>[0-9a-f]{64})  (?P<name>[^\n]+)")


def write_sums(bundle: Path) -> None:
    """Hash every file of the bundle except the list itself."""
    lines = [f"{file_sum(bundle / name)}  {name}\n" for name in bundle_files(bundle)]
    write_atomically(bundle / SUMS, "".join(lines).encode(), mode=0o644)


def read_sums(bundle: Path) -> dict[str, str]:
    """Return the listed sum of each file; a line of another form is not a list of sums."""
    try:
        text = (bundle / SUMS).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{bundle} is no bundle: {SUMS} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    matches = [_LINE.fullmatch(line) for line in text.splitlines()]
    if not matches or None in matches:
        raise UsageError(f"{bundle / SUMS}: expected lines of a SHA-256 sum, two spaces and a name")
    return {match["name"]: match["sum"] for match in matches if match}


def bundle_files(bundle: Path) -> Iterator[str]:
    """Yield the files of a bundle, relative and sorted, without the list of sums."""
    for path in sorted(bundle.rglob("*")):
        name = path.relative_to(bundle).as_posix()
        if path.is_file() and name != SUMS:
            yield name


def file_sum(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
