"""What a process with many threads keeps of what they used for a moment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping

import pytest

from claimwright.driver import resident_memory
from claimwright.driver.adapters.processes import ChildProcesses
from claimwright.driver.image.composition import SETTINGS

pytestmark = pytest.mark.slow

# Each thread in turn uses much for a moment, frees it, and keeps a little that it asked for meanwhile.
_PROGRAM = """
import sys, threading
from pathlib import Path
from claimwright.driver import resident_memory
from claimwright.driver.adapters.processes import ChildProcesses

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def use():
    for _ in range(4):
        moment = [bytes(100_000) for _ in range(30)]
        kept.append(bytes(2000))
        del moment
    used.release()
    done.wait()

if sys.argv[1] == "keep little":
    resident_memory.keep_little()
kept, used, done = [], threading.Semaphore(0), threading.Event()
threads = [threading.Thread(target=use) for _ in range(24)]
before = resident()
for each in threads:
    each.start()
    used.acquire()
grown = resident() - before
done.set()
print(grown // 1_000_000)
"""


def grown(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, how], capture_output=True, text=True, timeout=60, check=True
    )
    return int(done.stdout)


def test_a_thread_keeps_nothing_of_its_largest_moment() -> None:
    kept_by_default, kept = grown("as it comes"), grown("keep little")

    assert kept < kept_by_default / 3
    assert kept < 12


# Threads that stay free a few blocks of every small size.
_SMALL = """
import ctypes, os, threading

class Used(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena o s h mapped u f used free keep".split()]

library = ctypes.CDLL(None)
library.mallinfo2.restype = Used
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def use():
    for size in range(24, 1032, 16):
        for block in [library.malloc(size) for _ in range(7)]:
            library.free(block)
    used.release()
    done.wait()

used, done = threading.Semaphore(0), threading.Event()
threads = [threading.Thread(target=use) for _ in range(16)]
before = library.mallinfo2().used
for each in threads:
    each.start()
    used.acquire()
print((library.mallinfo2().used - before) // 1000)
done.set()
"""


def kept(environment: Mapping[str, str]) -> int:
    """Return how many kilobytes all threads together keep."""
    done = subprocess.run(
        [sys.executable, "-c", _SMALL],
        env={**os.environ, "MALLOC_ARENA_MAX": "1", **environment},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return int(done.stdout)


def test_threads_keep_no_blocks_that_they_freed_where_the_image_starts_the_driver() -> None:
    environment = dict(pair.split("=", 1) for pair in SETTINGS["Env"])

    assert kept({}) > 1000
    assert kept({"GLIBC_TUNABLES": environment.get("GLIBC_TUNABLES", "")}) < 200


@pytest.mark.parametrize("value", [resident_memory.ENVIRONMENT["GLIBC_TUNABLES"], "glibc.malloc.check=3"])
def test_other_programs_start_with_what_users_set_and_not_with_what_is_for_the_driver(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", value)

    ended = ChildProcesses().run(["env"], environment={}, timeout_seconds=10)

    wanted = {value} - {resident_memory.ENVIRONMENT["GLIBC_TUNABLES"]}
    assert set(re.findall(r"^GLIBC_TUNABLES=(.*)$", ended.output, re.MULTILINE)) == wanted
