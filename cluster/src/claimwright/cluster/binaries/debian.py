"""Unpack packages of the distribution without installing them: nothing of the system changes.

apt's lists, caches and locks are pointed at a private folder (apt.conf(5), `Dir::State::lists`, `Dir::Cache`).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from claimwright.cluster import errors, programs
from claimwright.cluster.progress import Progress

_UPDATE_SECONDS = 180.0
_DOWNLOAD_SECONDS = 300.0


def unpack_package(name: str, folder: Path, scratch: Path, progress: Progress) -> Path:
    """Download package `name` and extract its files under `folder`; returns `folder`.

    Raises MissingTool off Debian and its children, ProgramFailed when no mirror answers.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise errors.MissingTool("this is no Debian or Ubuntu (apt-get and dpkg-deb are not there)")
    state = scratch / "apt"
    downloads = scratch / f"deb-{name}"
    for path in (state / "lists" / "partial", state / "cache" / "archives" / "partial", downloads):
        path.mkdir(parents=True, exist_ok=True)
    with progress.step(f"unpacking the distribution's {name} package"):
        if not any(path.is_file() for path in (state / "lists").iterdir()):
            programs.run(["apt-get", *_private(state), "update"], timeout_seconds=_UPDATE_SECONDS)
        programs.run(
            ["apt-get", *_private(state), "download", name], cwd=downloads, timeout_seconds=_DOWNLOAD_SECONDS
        )
        for package in downloads.glob("*.deb"):
            programs.run(["dpkg-deb", "-x", package, folder], timeout_seconds=60)
    return folder


def _private(state: Path) -> list[str]:
    return [
        "-q",
        "-o", f"Dir::State={state}",
        "-o", f"Dir::State::lists={state / 'lists'}",
        "-o", "Dir::State::status=/var/lib/dpkg/status",
        "-o", f"Dir::Cache={state / 'cache'}",
        "-o", "APT::Sandbox::User=root",
    ]  # fmt: skip
