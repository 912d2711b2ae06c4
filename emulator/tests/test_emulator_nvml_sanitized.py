"""The library under sanitizers: rubbish from one thread, honest calls from many, forks, and a node that is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from claimwright.emulator.nvml import compiling
from claimwright.emulator.testing import Served

FUZZ = Path(__file__).parent.parent / "fuzz"


def _has(sanitizer: str) -> bool:
    """Tell whether the compiler finds a sanitizer's library: it prints the bare name of one that it has not."""
    name = f"lib{sanitizer}.so"
    try:
        asked = subprocess.run(
            ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return asked.stdout.strip() != name


def _needs(sanitizer: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not _has(sanitizer), reason=f"gcc has no lib{sanitizer}")


def _fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(FUZZ / "nvml_fuzz.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )


@_needs("asan")
@_needs("ubsan")
@pytest.mark.slow
def test_rubbish_to_every_function_is_clean_under_sanitizers_whatever_becomes_of_the_node() -> None:
    """Six rounds: nodes that live, die and come back, are dead, never were. `./nox -s fuzz` makes 10^6 calls."""
    done = _fuzz("--calls", "24000", "--round-length", "4000", "--seed", "7")
    assert done.returncode == 0, done.stderr
    counted = json.loads(done.stdout)
    assert counted["functions"] == 469
    assert counted["functions_that_succeeded"] > 150
    assert sum(counted["results"].values()) == 24000


@_needs("tsan")
@pytest.mark.slow
def test_threads_that_call_init_and_shut_down_at_once_do_not_race(tmp_path: Path) -> None:
    caller, flags = tmp_path / "threads", ("-g", "-O1", "-fsanitize=thread")
    source = str(FUZZ / "nvml_threads.c")
    subprocess.run(["gcc", *flags, "-o", caller, source, "-ldl", "-pthread"], check=True, timeout=120)
    with Served(tmp_path / "root", "l4x4") as node:
        compiling.compile_to(compiling.LIBRARY, node.library.resolve(), *flags)
        done = subprocess.run(
            [caller, node.library, "150"], capture_output=True, text=True, timeout=300, check=False
        )
    assert "ThreadSanitizer" not in done.stderr, done.stderr
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
