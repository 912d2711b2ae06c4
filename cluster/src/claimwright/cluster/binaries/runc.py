"""Get a runc with seccomp: built where libseccomp can be had, else the distribution's own.

Pod sandboxes ask for a seccomp profile, and a runc without libseccomp refuses them ("config provided but seccomp
not supported"). Ways, in order: the headers of the system, the headers of the distribution's unpacked package,
the distribution's runc package, runc on PATH.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from claimwright.cluster import errors, programs, versions
from claimwright.cluster.binaries.build import build
from claimwright.cluster.binaries.components import COMPONENTS
from claimwright.cluster.binaries.debian import unpack_package
from claimwright.cluster.binaries.golang import find_go
from claimwright.cluster.progress import Progress


def obtain_runc(
    kubernetes: versions.KubernetesVersion, scratch: Path, cache: Path, progress: Progress
) -> Path:
    """Return a runc with seccomp in `scratch`; raises BinariesUnavailable that names every way tried."""
    ways: list[tuple[str, Callable[[], Path]]] = [
        (
            "build with the system's libseccomp",
            lambda: _build_with_system(kubernetes, scratch, cache, progress),
        ),
        ("build with an unpacked libseccomp", lambda: _build_unpacked(kubernetes, scratch, cache, progress)),
        ("the distribution's runc package", lambda: _distribution(scratch, progress)),
        ("runc on PATH", lambda: _from_path(scratch)),
    ]
    refused = []
    for name, way in ways:
        try:
            return _checked(way())
        except errors.ClusterError as error:
            refused.append(f"{name}: {error}")
    raise errors.BinariesUnavailable("; ".join(refused))


def _build_with_system(
    kubernetes: versions.KubernetesVersion, scratch: Path, cache: Path, progress: Progress
) -> Path:
    if not Path("/usr/include/seccomp.h").exists():
        raise errors.MissingTool("the libseccomp headers are not installed")
    return _build(kubernetes, scratch, cache, progress, {})


def _build_unpacked(
    kubernetes: versions.KubernetesVersion, scratch: Path, cache: Path, progress: Progress
) -> Path:
    root = unpack_package("libseccomp-dev", scratch / "libseccomp", scratch, progress)
    archives = next(root.rglob("libseccomp.a"), None)
    if archives is None:
        raise errors.BinariesUnavailable("the libseccomp-dev package holds no static library")
    flags = {"CGO_CFLAGS": f"-I{root / 'usr' / 'include'}", "CGO_LDFLAGS": f"-L{archives.parent}"}
    # pkg-config would answer with the system's paths, which are empty here; cgo asks it by name.
    pkg_config = _fake_pkg_config(scratch)
    return _build(kubernetes, scratch, cache, progress, flags | {"PKG_CONFIG": str(pkg_config)})


def _fake_pkg_config(scratch: Path) -> Path:
    script = scratch / "pkg-config"
    script.write_text('#!/bin/sh\ncase "$*" in *--libs*) echo -lseccomp;; *) echo;; esac\n')
    script.chmod(0o755)
    return script


def _build(
    kubernetes: versions.KubernetesVersion,
    scratch: Path,
    cache: Path,
    progress: Progress,
    flags: dict[str, str],
) -> Path:
    if shutil.which("gcc") is None and shutil.which("cc") is None:
        raise errors.MissingTool("gcc is not installed, and runc's start-up is written in C")
    go = find_go(cache, progress)
    runc = COMPONENTS["runc"]
    with progress.step(f"building runc {versions.RUNC} with seccomp"):
        return build(
            go, runc, kubernetes, scratch / "runc",
            extra_environment={"CGO_ENABLED": "1", **flags, "GO_EXTLINK_ENABLED": "1"},
        )  # fmt: skip


def _distribution(scratch: Path, progress: Progress) -> Path:
    root = unpack_package("runc", scratch / "runc-package", scratch, progress)
    found = next((path for path in root.rglob("runc") if path.is_file() and path.parent.name == "sbin"), None)
    if found is None:
        raise errors.BinariesUnavailable("the package holds no runc")
    return found


def _from_path(scratch: Path) -> Path:
    found = shutil.which("runc")
    if found is None:
        raise errors.MissingTool("there is none")
    return Path(shutil.copy2(found, scratch / "runc-from-path"))


def _checked(runc: Path) -> Path:
    said = programs.run([runc, "--version"], timeout_seconds=30)
    if "libseccomp" not in said:
        raise errors.BinariesUnavailable(f"{runc.name} was made without seccomp: {said.splitlines()[0]}")
    return runc
