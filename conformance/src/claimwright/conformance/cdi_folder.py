"""The CDI folder as a container runtime reads it, before anything is made of it.

Read independently of claimwright.dra.cdi: a driver built on that library must not be judged by it alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from claimwright.conformance.errors import Violation

_ID: Final = re.compile(
    r"(?P<kind>[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)"
    r"=(?P<name>[A-Za-z0-9]([-A-Za-z0-9_.:]*[A-Za-z0-9])?)"
)


@dataclass(frozen=True, slots=True)
class SpecFile:
    """One CDI spec: its file and its content, unjudged."""

    path: Path
    content: Mapping[str, Any]
    text: str

    @property
    def kind(self) -> str:
        """Return vendor and class, `vendor.example/class`."""
        return str(self.content.get("kind", ""))

    def devices(self) -> list[Mapping[str, Any]]:
        """Return the devices of the spec."""
        return list(self.content.get("devices") or ())


def read_folder(folder: Path) -> tuple[SpecFile, ...]:
    """Read every spec; one that does not parse would break each container start on the node."""
    return tuple(_read(path) for path in spec_paths(folder))


def spec_paths(folder: Path) -> tuple[Path, ...]:
    """Return the files that a runtime reads: `.json` and `.yaml`, nothing else."""
    return tuple(sorted(path for path in folder.iterdir() if path.suffix in {".json", ".yaml"}))


def _read(path: Path) -> SpecFile:
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise Violation(f"{path.name} to be a CDI spec at any moment", f"{error}: {text[:80]!r}") from None
    if not isinstance(content, dict):
        raise Violation(f"{path.name} to be a CDI spec at any moment", repr(text[:80]))
    return SpecFile(path, content, text)


def parse_id(identifier: str) -> tuple[str, str]:
    """Split `vendor/class=name`; raises Violation when the id has another shape."""
    match = _ID.fullmatch(identifier)
    if match is None:
        raise Violation("CDI device ids of the form vendor/class=name", repr(identifier))
    return match["kind"], match["name"]


def resolve(specs: Iterable[SpecFile], identifier: str) -> list[tuple[SpecFile, Mapping[str, Any]]]:
    """Return every definition of a device id; a runtime needs exactly one."""
    kind, name = parse_id(identifier)
    return [
        (spec, one)
        for spec in specs
        if spec.kind == kind
        for one in spec.devices()
        if one.get("name") == name
    ]


def edits_of(specs: Iterable[SpecFile], identifiers: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the container edits that a runtime applies for these ids: each spec's own, then each device's."""
    read = tuple(specs)
    seen: set[Path] = set()
    for identifier in identifiers:
        for spec, device in resolve(read, identifier):
            if spec.path not in seen:
                seen.add(spec.path)
                yield spec.content.get("containerEdits") or {}
            yield device.get("containerEdits") or {}
