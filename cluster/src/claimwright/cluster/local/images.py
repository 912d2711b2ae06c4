"""Bring images to the nodes: the pause image that every pod sandbox needs, and whatever a scenario brings."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from claimwright.cluster import errors, programs
from claimwright.cluster.images.oci import ImageFile, ImageSpec, compose_image
from claimwright.cluster.interface import Cluster
from claimwright.cluster.local.node_configuration import CONTAINERD_SOCKET, PAUSE_IMAGE

_IMPORT_SECONDS = 300.0
_COMPILE_SECONDS = 60.0


def import_on_nodes(cluster: Cluster, tar: Path) -> None:
    """Import `tar` on every node of a local cluster."""
    if not tar.is_file():
        raise errors.InvalidRequest(f"{tar} is no image tar: make one with claimwright.cluster.compose_image")
    for node in cluster.nodes:
        import_tar(node.enter, cluster.folder / "bin" / "ctr", tar.resolve())


def import_tar(enter: Sequence[str], ctr: Path, tar: Path) -> None:
    """Import into the containerd namespace that the kubelet uses."""
    # The node's own /run hides files of the host's /run, so the tar goes in through stdin.
    programs.run(
        [*enter, str(ctr), "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io", "images", "import", "-"],
        timeout_seconds=_IMPORT_SECONDS, stdin_path=tar,
    )  # fmt: skip


def pause_tar(cache: Path) -> Path:
    """Return the pause image, compiled and composed once per cache and source."""
    source = resources.files("claimwright.cluster.images").joinpath("pause.c").read_bytes()
    place = cache / "images" / f"pause-{hashlib.sha256(source).hexdigest()[:12]}.tar"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
            pause = _compile(source, Path(scratch))
            compose_image(ImageSpec(PAUSE_IMAGE, {"/pause": ImageFile(pause, 0o755)}, ["/pause"]), place)
    return place


def _compile(source: bytes, scratch: Path) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise errors.MissingTool(
            "no C compiler for the pause image: install gcc (Debian: apt-get install gcc libc6-dev)"
        )
    (scratch / "pause.c").write_bytes(source)
    pause = scratch / "pause"
    command = [compiler, "-static", "-Os", "-s", "-o", os.fspath(pause), os.fspath(scratch / "pause.c")]
    programs.run(command, timeout_seconds=_COMPILE_SECONDS)
    return pause
