"""Release downloads against a local HTTP server."""

from __future__ import annotations

import hashlib
import http.server
import io
import socket
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from claimwright.cluster import errors, versions
from claimwright.cluster.binaries.components import COMPONENTS
from claimwright.cluster.binaries.download import Downloads, Release, find_release, parse_checksum
from claimwright.cluster.progress import Silent

V = versions.kubernetes_version("1.37")
BODY = bytes(range(256)) * 4000


class Releases(http.server.ThreadingHTTPServer):
    """Serves `files`; a path in `cut` breaks off after that many bytes, once."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        self.requests: list[tuple[str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(http.server.BaseHTTPRequestHandler):
    server: Releases

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path, wanted))
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        self.wfile.write(body[start:][: self.server.cut.pop(self.path, None)])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def releases() -> Iterator[Releases]:
    server = Releases()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def publish(releases: Releases, name: str, body: bytes, *, checksum: str | None = None) -> str:
    found = release_of(releases, name)
    path = found.address.removeprefix(releases.address)
    releases.files[path] = body
    digest = checksum or hashlib.sha256(body).hexdigest()
    text = f"{digest}  {path.rsplit('/', 1)[1]}\n" if found.member or name == "runc" else digest
    releases.files[found.checksum_address.removeprefix(releases.address)] = text.encode()
    return path


def release_of(releases: Releases, name: str) -> Release:
    here = releases.address
    return find_release(COMPONENTS[name], V, here, here, helm_base=here)


def door(releases: Releases) -> Downloads:
    return Downloads(releases.address, releases.address, releases.address, timeout_seconds=2)


def archive(name: str, body: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(body)
        tar.addfile(member, io.BytesIO(body))
    return out.getvalue()


def test_a_program_whose_checksum_matches_is_kept(releases, tmp_path):
    publish(releases, "kubelet", BODY)
    assert door(releases).fetch(COMPONENTS["kubelet"], V, tmp_path, Silent()).read_bytes() == BODY


@pytest.mark.parametrize("name", ["etcd", "containerd", "runc", "bridge", "helm"])
def test_every_other_product_is_found_in_its_release(releases, tmp_path, name):
    found = release_of(releases, name)
    publish(releases, name, archive(found.member, BODY) if found.member else BODY)
    assert door(releases).fetch(COMPONENTS[name], V, tmp_path, Silent()).read_bytes() == BODY


def test_a_wrong_checksum_is_refused_and_the_file_removed(releases, tmp_path):
    publish(releases, "kubelet", BODY, checksum="0" * 64)
    with pytest.raises(errors.DownloadRefused, match="checksum"):
        door(releases).fetch(COMPONENTS["kubelet"], V, tmp_path, Silent())
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_breaks_off_is_resumed_where_it_stopped(releases, tmp_path):
    path = publish(releases, "kubelet", BODY)
    releases.cut[path] = 1000
    assert door(releases).fetch(COMPONENTS["kubelet"], V, tmp_path, Silent()).read_bytes() == BODY
    assert releases.requests[-1] == (path, "bytes=1000-")


def test_a_release_that_is_not_there_is_named(releases, tmp_path):
    with pytest.raises(errors.DownloadRefused, match="404"):
        door(releases).fetch(COMPONENTS["kubelet"], V, tmp_path, Silent())


def test_an_archive_without_the_program_is_refused(releases, tmp_path):
    publish(releases, "etcd", archive("other", BODY))
    with pytest.raises(errors.DownloadRefused, match="holds no"):
        door(releases).fetch(COMPONENTS["etcd"], V, tmp_path, Silent())


def test_an_unreachable_host_is_asked_once_and_its_reason_remembered(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    downloads = Downloads(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}", timeout_seconds=1)
    for _ in range(2):
        with pytest.raises(errors.DownloadRefused, match="unreachable"):
            downloads.fetch(COMPONENTS["kubelet"], V, tmp_path, Silent())
    assert list(downloads.unreachable) == [f"127.0.0.1:{port}"]


def test_a_checksum_file_without_the_name_is_refused():
    with pytest.raises(errors.DownloadRefused, match="no SHA-256"):
        parse_checksum(f"{'a' * 64}  other.tar.gz\n", "mine.tar.gz")


def test_an_unknown_architecture_is_refused_by_name():
    with pytest.raises(errors.DownloadRefused, match="riscv64"):
        find_release(COMPONENTS["etcd"], V, machine="riscv64")


def test_the_official_addresses_are_those_of_the_projects():
    assert find_release(COMPONENTS["kubelet"], V, machine="aarch64").address == (
        "https://dl.k8s.io/v1.37.1/bin/linux/arm64/kubelet"
    )
    assert (
        Path(find_release(COMPONENTS["etcd"], V, machine="x86_64").address).name
        == "etcd-v3.6.8-linux-amd64.tar.gz"
    )
    assert find_release(COMPONENTS["helm"], V, machine="x86_64").address == (
        "https://get.helm.sh/helm-v4.3.1-linux-amd64.tar.gz"
    )
