"""CDI directories: writing and removing specs, and resolving ids as a container runtime does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from claimwright.dra.cdi.document import MalformedSpec, spec_from_object, spec_to_object
from claimwright.dra.cdi.specs import (
    CdiError,
    CdiSpec,
    ContainerEdits,
    UnresolvableDevice,
    qualified_name,
    split_qualified_name,
)
from claimwright.dra.cdi.validation import validate
from claimwright.dra.files import remove_durably, write_atomically

# Later directories take precedence.
DEFAULT_FOLDERS: Final = (Path("/etc/cdi"), Path("/var/run/cdi"))
_TRANSIENT_ID: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?", re.ASCII)
Format = Literal["json", "yaml"]


def spec_path(
    folder: Path,
    kind: str,
    *,
    transient_id: str | None = None,
    format: Format = "yaml",  # noqa: A002  # the specification's word
) -> Path:
    """Give a spec's usual file, `vendor-class[_id].yaml`; raises CdiError on an unsafe id."""
    if transient_id is not None and not _TRANSIENT_ID.fullmatch(transient_id):
        raise CdiError(f"transient id {transient_id!r}: expected letters, digits and _-.: only")
    suffix = "" if transient_id is None else f"_{transient_id}"
    return folder / f"{kind.replace('/', '-')}{suffix}.{format}"


def write_spec(
    cdi_dir: Path,
    spec: CdiSpec,
    *,
    transient_id: str | None = None,
    format: Format = "yaml",  # noqa: A002  # the specification's word
    durable: bool = True,
) -> Path:
    """Validate and write a spec atomically, mode 0644, over an older one; raises InvalidSpec, OSError."""
    validate(spec)
    path = spec_path(cdi_dir, spec.kind, transient_id=transient_id, format=format)
    document = spec_to_object(spec)
    text = json.dumps(document, indent=2) if format == "json" else _yaml(document)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_atomically(path, text.rstrip("\n") + "\n", mode=0o644, durable=durable)
    return path


def remove_spec(cdi_dir: Path, kind: str, *, transient_id: str | None = None) -> None:
    """Remove a spec in either format; a missing one is fine."""
    for suffix in ("yaml", "json"):
        path = spec_path(cdi_dir, kind, transient_id=transient_id, format=suffix)
        if path.exists():
            remove_durably(path)


def load_spec(path: Path) -> CdiSpec:
    """Read and validate one file; raises MalformedSpec, InvalidSpec."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise MalformedSpec(f"{path}: cannot be read: {error}") from error
    document = _parsed(text, path)
    spec = spec_from_object(document, source=path)
    validate(spec)
    return spec


def load_specs(folders: Sequence[Path] = DEFAULT_FOLDERS) -> Registry:
    """Read all specs as a runtime does: broken files are kept as errors, later folders win."""
    registry = Registry()
    for priority, folder in enumerate(folders):
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        for path in files:
            if path.suffix in (".json", ".yaml") and not path.name.startswith("."):
                registry.add_file(path, priority)
    return registry


@dataclass
class Registry:
    """The devices of a set of CDI directories."""

    specs: dict[Path, CdiSpec] = field(default_factory=dict)
    errors: dict[Path, CdiError] = field(default_factory=dict)
    _priorities: dict[Path, int] = field(default_factory=dict)
    _owners: dict[str, list[Path]] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        """All ids that some spec defines, sorted."""
        return tuple(sorted(self._owners))

    def add_file(self, path: Path, priority: int) -> None:
        """Take in one file of a directory with this priority; a broken one becomes an error."""
        try:
            spec = load_spec(path)
        except CdiError as error:
            self.errors[path] = error
            return
        self.specs[path] = spec
        self._priorities[path] = priority
        for cdi_id in spec.ids:
            self._owners.setdefault(cdi_id, []).append(path)

    def owner(self, cdi_id: str) -> Path:
        """Give the file that defines an id; raises UnresolvableDevice."""
        split_qualified_name(cdi_id)
        owners = self._owners.get(cdi_id, [])
        best = max((self._priorities[path] for path in owners), default=0)
        chosen = [path for path in owners if self._priorities[path] == best]
        if len(chosen) > 1:
            files = ", ".join(str(path) for path in chosen)
            raise UnresolvableDevice((cdi_id,), f"CDI device {cdi_id} is defined by several files: {files}")
        if not chosen:
            raise UnresolvableDevice((cdi_id,), f"unresolvable CDI devices {cdi_id}{self._broken()}")
        return chosen[0]

    def resolve(self, ids: Iterable[str]) -> ContainerEdits:
        """Merge what a container with these ids gets; raises UnresolvableDevice with every id that fails.

        The edits of a spec itself come once, before those of its first device.
        """
        wanted = tuple(ids)
        missing = tuple(cdi_id for cdi_id in wanted if cdi_id not in self._owners)
        if missing:
            raise UnresolvableDevice(
                missing, f"unresolvable CDI devices {', '.join(missing)}{self._broken()}"
            )
        edits, seen = ContainerEdits(), set[Path]()
        for cdi_id in wanted:
            path = self.owner(cdi_id)
            if path not in seen:
                seen.add(path)
                edits += self.specs[path].edits
            edits += self._device_edits(path, cdi_id)
        return edits

    def _device_edits(self, path: Path, cdi_id: str) -> ContainerEdits:
        spec = self.specs[path]
        return next(
            device.edits for device in spec.devices if qualified_name(spec.kind, device.name) == cdi_id
        )

    def _broken(self) -> str:
        return (
            f"; broken specs: {'; '.join(str(error) for error in self.errors.values())}"
            if self.errors
            else ""
        )


def _parsed(text: str, path: Path) -> object:
    if path.suffix == ".json":
        try:
            return json.loads(text)
        except ValueError as error:
            raise MalformedSpec(f"{path}: is no JSON: {error}") from error
    import yaml  # noqa: PLC0415  # 4 MB that a driver with JSON specs does not pay

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise MalformedSpec(f"{path}: is no YAML: {error}") from error


def _yaml(document: Mapping[str, Any]) -> str:
    import yaml  # noqa: PLC0415  # see _parsed

    return yaml.safe_dump(document, sort_keys=False)
