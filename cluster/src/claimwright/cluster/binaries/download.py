"""Official release downloads: checksums verified, parts resumed, an unreachable host remembered.

Kubernetes publishes single programs beside a `.sha256` file; etcd, containerd, runc and the CNI plugins publish
GitHub releases with a checksum file in the same folder; Helm has a server of its own for its archives.
"""

from __future__ import annotations

import hashlib
import http.client
import platform
import shutil
import tarfile
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from claimwright.cluster import errors, versions
from claimwright.cluster.binaries.components import Component, release
from claimwright.cluster.progress import Progress

KUBERNETES_BASE = "https://dl.k8s.io"
GITHUB_BASE = "https://github.com"
HELM_BASE = "https://get.helm.sh"
_CONNECT_SECONDS = 4.0
_ATTEMPTS = 4
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Release:
    """One file to download: its address, the address of its checksum, and the member when it is an archive."""

    address: str
    checksum_address: str
    member: str | None


@dataclass
class Downloads:
    """The door to the release servers. `unreachable` remembers hosts that did not answer, with the reason."""

    kubernetes_base: str = KUBERNETES_BASE
    github_base: str = GITHUB_BASE
    helm_base: str = HELM_BASE
    timeout_seconds: float = _CONNECT_SECONDS
    unreachable: dict[str, str] = field(default_factory=dict)

    def fetch(
        self,
        component: Component,
        kubernetes: versions.KubernetesVersion,
        scratch: Path,
        progress: Progress,
    ) -> Path:
        """Download `component` into `scratch`; raises DownloadRefused with the reason."""
        wanted = find_release(
            component, kubernetes, self.kubernetes_base, self.github_base, helm_base=self.helm_base
        )
        if reason := self.unreachable.get(_host(wanted.address)):
            raise errors.DownloadRefused(reason)
        file_name = wanted.address.rsplit("/", 1)[1]
        expected = parse_checksum(self._read(wanted.checksum_address), file_name)
        target = scratch / file_name
        with progress.step(f"downloading {component.name} {release(component, kubernetes)}"):
            self._save(wanted.address, target)
        _check(target, expected, wanted.address)
        return _extract(target, wanted.member) if wanted.member else target

    def _read(self, address: str) -> str:
        try:
            with self._open(address) as response:
                return response.read(1 << 20).decode("ascii", errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise errors.DownloadRefused(f"{address} broke off: {error}") from error

    def _save(self, address: str, target: Path) -> None:
        """Write the body to `target`; a connection that breaks is resumed where it stopped."""
        for _ in range(_ATTEMPTS):
            have = target.stat().st_size if target.exists() else 0
            try:
                with self._open(address, start=have) as response:
                    mode = "ab" if response.status == http.HTTPStatus.PARTIAL_CONTENT else "wb"
                    with target.open(mode) as stream:
                        shutil.copyfileobj(response, stream, _BLOCK_BYTES)
                    if _complete(response, target):
                        return
            except (http.client.HTTPException, TimeoutError, ConnectionError):
                continue
        raise errors.DownloadRefused(f"{address} broke off {_ATTEMPTS} times")

    def _open(self, address: str, *, start: int = 0) -> http.client.HTTPResponse:
        headers = {"Range": f"bytes={start}-"} if start else {}
        request = urllib.request.Request(address, headers=headers)  # noqa: S310 - http(s) bases only
        try:
            response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=self.timeout_seconds)  # noqa: S310
        except urllib.error.HTTPError as error:
            with error:
                raise errors.DownloadRefused(f"{address} answered {error.code} {error.reason}") from error
        except urllib.error.URLError as error:
            reason = f"{_host(address)} is unreachable ({error.reason})"
            self.unreachable[_host(address)] = reason
            raise errors.DownloadRefused(reason) from error
        return response


def find_release(
    component: Component,
    kubernetes: versions.KubernetesVersion,
    kubernetes_base: str = KUBERNETES_BASE,
    github_base: str = GITHUB_BASE,
    machine: str | None = None,
    *,
    helm_base: str = HELM_BASE,
) -> Release:
    """Return where `component` is published for this machine's architecture."""
    version = release(component, kubernetes)
    arch = architecture(machine or platform.machine())
    if component.product == "kubernetes":
        address = f"{kubernetes_base}/v{version}/bin/linux/{arch}/{component.name}"
        return Release(address, f"{address}.sha256", None)
    if component.product == "helm":
        address = f"{helm_base}/helm-v{version}-linux-{arch}.tar.gz"
        return Release(address, f"{address}.sha256sum", f"linux-{arch}/helm")
    repository, file_name, checksums, member = {
        "etcd": (
            "etcd-io/etcd", f"etcd-v{version}-linux-{arch}.tar.gz", "SHA256SUMS",
            f"etcd-v{version}-linux-{arch}/etcd",
        ),
        "containerd": (
            "containerd/containerd", f"containerd-{version}-linux-{arch}.tar.gz",
            f"containerd-{version}-linux-{arch}.tar.gz.sha256sum", f"bin/{component.name}",
        ),
        "runc": ("opencontainers/runc", f"runc.{arch}", "runc.sha256sum", None),
        "cni-plugins": (
            "containernetworking/plugins", f"cni-plugins-linux-{arch}-v{version}.tgz",
            f"cni-plugins-linux-{arch}-v{version}.tgz.sha256", f"./{component.name}",
        ),
    }[component.product]  # fmt: skip
    folder = f"{github_base}/{repository}/releases/download/v{version}"
    return Release(f"{folder}/{file_name}", f"{folder}/{checksums}", member)


def architecture(machine: str) -> str:
    """Translate the kernel's name of an architecture into Go's."""
    names = {"x86_64": "amd64", "aarch64": "arm64"}
    if machine not in names:
        raise errors.DownloadRefused(f"no releases are published for {machine}: known are {', '.join(names)}")
    return names[machine]


def parse_checksum(text: str, file_name: str) -> str:
    """Find the SHA-256 of `file_name` in a checksum file: a bare digest, or lines of `digest  name`."""
    for line in text.splitlines():
        words = line.split()
        named = words[1].lstrip("*").rsplit("/", 1)[-1] if len(words) > 1 else file_name
        if words and len(words[0]) == 64 and named == file_name:
            return words[0].lower()
    raise errors.DownloadRefused(f"the checksum file has no SHA-256 of {file_name}: {text[:80]!r}")


def _complete(response: http.client.HTTPResponse, target: Path) -> bool:
    # http.client's readinto returns short instead of raising when the peer closes early (CPython issue 50120).
    total = response.headers.get("Content-Range", "").rpartition("/")[2] or response.headers.get(
        "Content-Length"
    )
    return total is None or not total.isdigit() or target.stat().st_size >= int(total)


def _check(path: Path, expected: str, address: str) -> None:
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        path.unlink()
        raise errors.DownloadRefused(f"{address} has checksum {found}, but {expected} is published: not used")


def _extract(archive: Path, member: str) -> Path:
    """Take one program out of a checked archive."""
    target = archive.with_name(Path(member).name)
    try:
        with tarfile.open(archive) as tar:
            for name in (member, member.removeprefix("./")):
                if name in tar.getnames() and (stream := tar.extractfile(name)):
                    with stream, target.open("wb") as out:
                        shutil.copyfileobj(stream, out)
                    return target
    except tarfile.TarError as error:
        raise errors.DownloadRefused(f"{archive.name} is no archive: {error}") from error
    raise errors.DownloadRefused(f"{archive.name} holds no {member}")


def _host(address: str) -> str:
    return urllib.parse.urlsplit(address).netloc
