"""What a process with many threads keeps of what they used for a moment."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

# Each thread in turn uses much for a moment, frees it, and keeps a little that it asked for meanwhile.
_PROGRAM = """
import sys, threading
from pathlib import Path
from claimwright.driver import resident_memory

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
