"""Unpack packages of the distribution without installing them: nothing of the system changes.

apt's lists, caches and locks are pointed at a private folder (apt.conf(5), `Dir::State::lists`, `Dir::Cache`).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from claimwright.cluster import errors, programs
from claimwright.cluster.progress import Progress

_UPDATE_SECONDS = 180.0
_DOWNLOAD_SECONDS = 300.0


def unpack_package(name: str, folder: Path, scratch: Path, progress: Progress) -> Path:
    """Download package `name` and extract its files under `folder`; returns `folder`.

    Raises MissingTool off Debian and its children, ProgramFailed when no mirror answers.
    """
    state = _prepared(scratch)
    with progress.step(f"unpacking the distribution's {name} package"):
        _refresh(state)
        _unpack([name], folder, scratch / f"deb-{name}", state)
    return folder


def unpack_with_needs(names: Sequence[str], folder: Path, scratch: Path, progress: Progress) -> Path:
    """Extract packages under `folder`, with everything they depend on that this system has not installed.

    Raises as `unpack_package` does. Links of theirs into packages that are installed are made absolute.
    """
    state = _prepared(scratch)
    with progress.step(f"unpacking the distribution's packages {', '.join(names)}"):
        _refresh(state)
        wanted = _with_needs(names, state)
        _unpack(wanted, folder, scratch / f"deb-{names[0]}", state)
        _mend_links(folder)
    return folder


def _prepared(scratch: Path) -> Path:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise errors.MissingTool("this is no Debian or Ubuntu (apt-get and dpkg-deb are not there)")
    state = scratch / "apt"
    for path in (state / "lists" / "partial", state / "cache" / "archives" / "partial"):
        path.mkdir(parents=True, exist_ok=True)
    return state


def _refresh(state: Path) -> None:
    if not any(path.is_file() for path in (state / "lists").iterdir()):
        programs.run(["apt-get", *_private(state), "update"], timeout_seconds=_UPDATE_SECONDS)


def _with_needs(names: Sequence[str], state: Path) -> list[str]:
    # A simulation needs no root; it lists `Inst NAME (VERSION ...)`, and `Inst NAME [INSTALLED] (VERSION ...)` where
    # it would upgrade. What is installed serves as it is: a second libc beside the system's would break both.
    said = programs.run(
        ["apt-get", *_private(state), "--simulate", "--no-install-recommends", "install", *names],
        timeout_seconds=_UPDATE_SECONDS,
    )
    lines = (line.split() for line in said.splitlines() if line.startswith("Inst "))
    found = [words[1] for words in lines if not words[2].startswith("[")]
    return sorted({*found, *names})


def _unpack(names: Sequence[str], folder: Path, downloads: Path, state: Path) -> None:
    downloads.mkdir(parents=True, exist_ok=True)
    programs.run(
        ["apt-get", *_private(state), "download", *names], cwd=downloads, timeout_seconds=_DOWNLOAD_SECONDS
    )
    for package in sorted(downloads.glob("*.deb")):
        programs.run(["dpkg-deb", "-x", package, folder], timeout_seconds=120)
    shutil.rmtree(downloads)


def _mend_links(folder: Path) -> None:
    """Point links that dangle below `folder` to the installed file of that name: libelf-dev's to libelf1's."""
    for link in (path for path in folder.rglob("*") if path.is_symlink() and not path.exists()):
        target = link.readlink()
        installed = Path("/") / link.parent.relative_to(folder) / target
        if not target.is_absolute() and installed.exists():
            link.unlink()
            link.symlink_to(installed)


def _private(state: Path) -> list[str]:
    return [
        "-q",
        "-o", f"Dir::State={state}",
        "-o", f"Dir::State::lists={state / 'lists'}",
        "-o", "Dir::State::status=/var/lib/dpkg/status",
        "-o", f"Dir::Cache={state / 'cache'}",
        "-o", "APT::Sandbox::User=root",
    ]  # fmt: skip
