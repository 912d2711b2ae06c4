"""Without root: the control plane alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from claimwright.cluster import processes

pytestmark = [pytest.mark.contract, pytest.mark.slow]
NOBODY = "65534"


def unprivileged(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return a prefix and environment that run a command without privileges (as this user when there are none)."""
    environment = {**os.environ, "XDG_STATE_HOME": str(folder), "HOME": str(folder)}
    environment.setdefault("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    if os.geteuid() != 0:
        return [], environment
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv is not there to drop root with")
    os.chown(folder, int(NOBODY), int(NOBODY))
    # Reading only: the interpreter and the cache of programs may be in root's home.
    keep = [
        "--inh-caps=-all,+dac_read_search",
        "--ambient-caps=-all,+dac_read_search",
        "--bounding-set=-all,+dac_read_search",
    ]
    return [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *keep], environment


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    prefix, environment = unprivileged(folder)
    command = [*prefix, sys.executable, "-m", "claimwright.cli.main", "cluster", *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=240, check=False, cwd="/"
    )


def test_an_ordinary_user_gets_a_control_plane_and_is_told_what_is_missing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rootless")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(parent.stat().st_mode | 0o055)
    try:
        made = run(folder, "up", "--name", "plain", "--nodes", "2", "--json")
        assert made.returncode == 0, made.stderr
        assert "real nodes need root" in made.stderr
        cluster = json.loads(made.stdout)
        assert cluster["emulated_kubelets"]
        assert cluster["nodes"] == []
        assert run(folder, "list").stdout.splitlines()[1].split()[:2] == ["plain", "running"]
    finally:
        stopped = run(folder, "down", "plain")
    assert stopped.returncode == 0, stopped.stderr
    assert list(processes.with_marker(str(folder / "claimwright/clusters/plain"))) == []
    assert list((folder / "claimwright/clusters").iterdir()) == []
