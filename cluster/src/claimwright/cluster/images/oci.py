"""Compose OCI image tars from files: no engine, no registry, the same bytes every time.

Formats: OCI image-spec 1.1, image-layout.md (oci-layout, index.json, blobs), manifest.md, config.md, layer.md.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from claimwright.cluster import errors
from claimwright.cluster.files import write_atomically

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class ImageFile:
    """A file of the host to put into an image; `mode` None keeps its permissions."""

    source: Path
    mode: int | None = None


@dataclass(frozen=True)
class ImageText:
    """A small file with this content."""

    text: str
    mode: int = 0o644


@dataclass(frozen=True)
class ImageLink:
    """A symbolic link."""

    target: str


Entry = ImageFile | ImageText | ImageLink


@dataclass(frozen=True)
class ImageSpec:
    """An image: `entries` by absolute path inside it; `reference` such as `claimwright.local/probe:1`."""

    reference: str
    entries: Mapping[str, Entry]
    entrypoint: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    working_folder: str = "/"
    labels: Mapping[str, str] = field(default_factory=dict)


def compose_image(spec: ImageSpec, tar: Path) -> Path:
    """Write the image of `spec` to `tar` (an OCI layout) and return it.

    Deterministic: owners are root, times are zero, names are sorted. Raises InvalidRequest that names a path.
    """
    layer = _layer(spec.entries)
    config = _json(_config(spec, layer))
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, config),
            "layers": [_descriptor(_LAYER, layer)],
        }
    )
    names = {"io.containerd.image.name": spec.reference, "org.opencontainers.image.ref.name": spec.reference}
    index = _json(
        {"schemaVersion": 2, "manifests": [{**_descriptor(_MANIFEST, manifest), "annotations": names}]}
    )
    blobs = {f"blobs/sha256/{_digest(blob)}": blob for blob in (config, layer, manifest)}
    layout = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": index, **blobs}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in layout.items():
            archive.addfile(_member(name, 0o644, len(content)), io.BytesIO(content))
    write_atomically(tar, out.getvalue(), mode=0o644)
    return tar


def _layer(entries: Mapping[str, Entry]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for folder in _folders(entries):
            member = _member(folder, 0o1777 if folder == "tmp" else 0o755, 0)
            member.type = tarfile.DIRTYPE
            archive.addfile(member)
        for path, entry in sorted(entries.items()):
            _add(archive, _inside(path), entry)
    return out.getvalue()


def _add(archive: tarfile.TarFile, name: str, entry: Entry) -> None:
    match entry:
        case ImageLink(target):
            member = _member(name, 0o777, 0)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
        case ImageText(text, mode):
            content = text.encode()
            archive.addfile(_member(name, mode, len(content)), io.BytesIO(content))
        case ImageFile(source, mode):
            try:
                with source.open("rb") as stream:
                    content = stream.read()
                permissions = source.stat().st_mode & 0o7777 if mode is None else mode
            except OSError as error:
                raise errors.InvalidRequest(
                    f"{source} cannot be put into the image as /{name}: {error}"
                ) from error
            archive.addfile(_member(name, permissions, len(content)), io.BytesIO(content))


def _folders(entries: Mapping[str, Entry]) -> list[str]:
    """Return the folders that the entries need, and those that a runtime mounts on."""
    wanted = {"dev", "etc", "proc", "sys", "tmp"}
    for path in entries:
        wanted |= {str(parent) for parent in PurePosixPath(_inside(path)).parents if str(parent) != "."}
    links = {_inside(path) for path, entry in entries.items() if isinstance(entry, ImageLink)}
    return sorted(wanted - links)


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if not pure.is_absolute() or ".." in pure.parts or len(pure.parts) < 2:
        raise errors.InvalidRequest(f"image path {path!r}: an absolute path without '..' is needed")
    return str(pure.relative_to("/"))


def _config(spec: ImageSpec, layer: bytes) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "Entrypoint": list(spec.entrypoint),
        "Env": [f"{name}={value}" for name, value in spec.environment.items()],
        "WorkingDir": spec.working_folder,
    }
    if spec.labels:
        settings["Labels"] = dict(spec.labels)
    return {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}"]},
    }


def _member(name: str, mode: int, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode, member.size = mode, size
    return member


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{_digest(blob)}", "size": len(blob)}


def _digest(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
