"""The cache of programs: `$XDG_CACHE_HOME/claimwright/<product>/<version>/<name>`.

A program is there whole or not at all: it is made in a scratch folder of the cache and renamed. One lock per
cache serves two commands that need the same build; the second waits and finds it done.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from claimwright.cluster import errors, files, versions
from claimwright.cluster.binaries.components import Component, release
from claimwright.cluster.progress import Progress

_LOCK_DEADLINE_SECONDS = 3600.0
_STALE_SCRATCH_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Cache:
    """The folder that holds programs for every cluster of this user."""

    folder: Path

    def path(self, component: Component, kubernetes: versions.KubernetesVersion) -> Path:
        """Return where `component` is, or would be."""
        return self.folder / component.product / release(component, kubernetes) / component.name

    def find(self, component: Component, kubernetes: versions.KubernetesVersion) -> Path | None:
        """Return the cached program, or None."""
        path = self.path(component, kubernetes)
        return path if os.access(path, os.X_OK, effective_ids=True) else None

    def install(self, made: Path, component: Component, kubernetes: versions.KubernetesVersion) -> Path:
        """Move a finished program into its place; a crash leaves the old one or the new one, never a half."""
        place = self.path(component, kubernetes)
        place.parent.mkdir(parents=True, exist_ok=True)
        made.chmod(0o755)
        with made.open("rb") as stream:
            os.fsync(stream.fileno())
        made.replace(place)
        files.sync_folder(place.parent)
        return place

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a folder on the cache's file system (so that a rename is atomic) that goes away afterwards."""
        parent = self.folder / "scratch"
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(parent)
        folder = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def locked(self, progress: Progress) -> Iterator[None]:
        """Hold the cache's lock; say so while another process has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as stream:
            if not _try_lock(stream.fileno()):
                with progress.step("waiting for another command that provides programs"):
                    _wait_for_lock(stream.fileno(), self.folder / "lock")
            yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_for_lock(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + _LOCK_DEADLINE_SECONDS
    while not _try_lock(descriptor):
        if time.monotonic() > deadline:
            raise errors.ClusterBusy(
                f"another command has held {path} for {_LOCK_DEADLINE_SECONDS:.0f} s: look for a hanging"
                " `claimwright cluster` process"
            )
        time.sleep(0.2)


def _sweep(parent: Path) -> None:
    # What a killed build left; an hour-long build is alive, a day-old folder is not.
    for folder in parent.iterdir():
        if time.time() - folder.stat().st_mtime > _STALE_SCRATCH_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
