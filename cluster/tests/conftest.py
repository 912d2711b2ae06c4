"""Shared by the tests of this room: private folders, fake programs, a local release server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from claimwright.cluster import down, list_clusters


@pytest.fixture
def fake_programs(tmp_path: Path):
    """Return a function that makes executables answering `--version`-less calls with success."""

    def make(folder: Path, *names: str, text: str = "#!/bin/sh\nexit 0\n") -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        return folder

    return make


@pytest.fixture
def private_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the test a short state folder of its own; the cache of programs stays the user's."""
    with tempfile.TemporaryDirectory(prefix="cw") as folder:
        monkeypatch.setenv("XDG_STATE_HOME", folder)
        yield Path(folder)
        # A test that failed half-way must not leave a cluster behind.
        for name in list_clusters():
            down(name)
