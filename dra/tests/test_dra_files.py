from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from claimwright.dra.files import remove_durably, remove_leftovers, write_atomically

STEPS = ("fchmod", "fsync", "replace")


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_at_any_step_leaves_the_old_content_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "state"
    write_atomically(path, "old")

    def broken(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    # Only around the call: a reporter that writes when fixtures end must find the real functions.
    with monkeypatch.context() as patch:
        patch.setattr(os, step, broken)
        with pytest.raises(OSError, match="No space"):
            write_atomically(path, "new")

    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_leaves_the_whole_old_content(tmp_path, step):
    path = tmp_path / "state"
    path.write_text("old")
    program = (
        "import os, signal, sys; from pathlib import Path; from claimwright.dra import files\n"
        f"os.{step} = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.write_atomically(Path(sys.argv[1]), 'new' * 100000)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=30)

    assert killed.returncode == -9
    assert path.read_text() == "old"
    remove_leftovers(path)
    assert [item.name for item in tmp_path.iterdir()] == ["state"]


def test_a_failure_to_sync_the_folder_is_told_though_the_content_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "state"
    real, calls = os.fsync, []

    def second_fails(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", second_fails)
        with pytest.raises(OSError, match="Input/output"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_the_mode_is_the_one_asked_for_whatever_the_umask(tmp_path, mode):
    before = os.umask(0o077)
    try:
        write_atomically(tmp_path / "f", "x", mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == mode


def test_a_name_of_full_length_can_be_written(tmp_path):
    path = tmp_path / ("n" * 255)
    write_atomically(path, "x", durable=False)
    assert path.read_text() == "x"


def test_removing_twice_is_fine(tmp_path):
    write_atomically(tmp_path / "f", "x")
    remove_durably(tmp_path / "f")
    remove_durably(tmp_path / "f")
    assert not (tmp_path / "f").exists()
