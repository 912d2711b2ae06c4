"""Write an image as a tar of the OCI layout: the same trees give the same bytes on every run.

Formats: OCI image-spec 1.1 (image-layout.md, manifest.md, config.md, layer.md). Layers are compressed, and written one
file at a time, so that memory does not grow with the image.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from claimwright.driver.image.tree import Link, Tree, parents

REFERENCE: Final = "docker.io/claimwright/driver:0.1.0"
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
_LEVEL: Final = 6


@dataclass(frozen=True)
class Blob:
    """A part of the image, stored under its digest. `uncompressed` is the digest before compression."""

    media_type: str
    digest: str
    size: int
    path: Path | None = None
    data: bytes = b""
    uncompressed: str = ""

    @property
    def descriptor(self) -> dict[str, Any]:
        """Return how others refer to it."""
        return {"mediaType": self.media_type, "digest": f"sha256:{self.digest}", "size": self.size}


def write_layout(
    target: Path, trees: Sequence[Tree], settings: Mapping[str, Any], *, reference: str = REFERENCE
) -> None:
    """Write the image to `target`, which appears whole or not at all; `settings` is the config's own `config`."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        layers = [_layer(tree, Path(scratch) / f"{index}.tar.gz") for index, tree in enumerate(trees)]
        fresh = Path(scratch) / "layout.tar"
        _write_tar(fresh, layers, settings, reference)
        fresh.chmod(0o644)
        fresh.replace(target)


def _write_tar(place: Path, layers: Sequence[Blob], settings: Mapping[str, Any], reference: str) -> None:
    machine = platform.machine()
    config = _json_blob(
        _CONFIG,
        {
            "architecture": _ARCHITECTURES.get(machine, machine),
            "os": "linux",
            "config": dict(settings),
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.uncompressed}" for layer in layers]},
        },
    )
    manifest = _json_blob(
        _MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": config.descriptor,
            "layers": [layer.descriptor for layer in layers],
        },
    )
    names = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference}
    index = _json({"schemaVersion": 2, "manifests": [{**manifest.descriptor, "annotations": names}]})
    with tarfile.open(place, "w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", index)
        for blob in sorted((config, manifest, *layers), key=lambda blob: blob.digest):
            _add_blob(archive, blob)


def _layer(tree: Tree, place: Path) -> Blob:
    with place.open("wb") as file:
        packed = _Digesting(file)
        # No name and no time in the header, or no two runs would give the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=_LEVEL, mtime=0) as squeezer:
            plain = _Digesting(squeezer)
            with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as archive:
                _fill(archive, tree)
    return Blob(_LAYER, packed.hexdigest, packed.size, path=place, uncompressed=plain.hexdigest)


def _fill(archive: tarfile.TarFile, tree: Tree) -> None:
    for folder in parents(tree):
        member = _member(str(folder.relative_to("/")), 0o1777 if folder.name == "tmp" else 0o755, 0)
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
    for path, entry in sorted(tree.items()):
        name = str(path.relative_to("/"))
        if isinstance(entry, Link):
            member = _member(name, 0o777, 0)
            member.type, member.linkname = tarfile.SYMTYPE, entry.target
            archive.addfile(member)
        else:
            _add(archive, name, entry.read(), mode=entry.mode)


def _add(archive: tarfile.TarFile, name: str, data: bytes, *, mode: int = 0o644) -> None:
    archive.addfile(_member(name, mode, len(data)), io.BytesIO(data))


def _add_blob(archive: tarfile.TarFile, blob: Blob) -> None:
    with _opened(blob) as stream:
        archive.addfile(_member(f"blobs/sha256/{blob.digest}", 0o644, blob.size), stream)


@contextmanager
def _opened(blob: Blob) -> Iterator[IO[bytes]]:
    with io.BytesIO(blob.data) if blob.path is None else blob.path.open("rb") as stream:
        yield stream


def _member(name: str, mode: int, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode, member.size = mode, size
    return member


def _json_blob(media_type: str, content: Mapping[str, Any]) -> Blob:
    data = _json(content)
    return Blob(media_type, hashlib.sha256(data).hexdigest(), len(data), data=data)


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


class _Digesting(io.RawIOBase):
    """Passes on what is written, and remembers its digest and size."""

    def __init__(self, target: Any) -> None:  # noqa: ANN401  a file or a compressor
        self._target = target
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401  whatever has a buffer
        self._hash.update(data)
        self.size += len(data)
        self._target.write(data)
        return len(data)
