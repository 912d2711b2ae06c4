"""What an NVML client that stays sees of a GPU that changes its driver, while other threads of it ask as well."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from claimwright.emulator import running

pytestmark = pytest.mark.slow

_CLIENT = """
import os, pynvml as n, threading, time

def write(attribute):
    opened = os.open(os.environ["HOST_ROOT"] + "/sys/bus/pci/drivers/nvidia/" + attribute, os.O_WRONLY)
    os.write(opened, b"0000:41:00.0")
    os.close(opened)

def ask():
    while not done.is_set():
        n.nvmlDeviceGetCount()

n.nvmlInit()
done = threading.Event()
others = [threading.Thread(target=ask) for _ in range(2)]
for each in others:
    each.start()
missed = 0
for _ in range(30):
    write("unbind")
    write("bind")
    deadline = time.monotonic() + 1
    while n.nvmlDeviceGetCount() != 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    missed += n.nvmlDeviceGetCount() != 8
done.set()
print(missed)
"""


@pytest.fixture
def node() -> Iterator[running.RunningNode]:
    name = f"rebinding-{uuid.uuid4().hex[:8]}"
    found = running.up("every-mode", name=name)
    yield found
    running.down(name)


def test_a_gpu_that_comes_back_is_seen_by_whoever_stayed(node: running.RunningNode) -> None:
    if not node.acting_files:
        pytest.skip(f"files of nodes only show here: {node.why_files_only_show}")

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _CLIENT],
        env=node.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (done.stdout.strip(), done.stderr) == ("0", "")
