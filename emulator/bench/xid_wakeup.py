"""How long from an injected XID until a process that only waits has returned from nvmlEventSetWait.

    python emulator/bench/xid_wakeup.py [--events 1000] [--waiters 1]

The clock starts before the request goes over the control socket and stops in the waiting process. Prints one JSON
line: p50, p99 and the worst, in milliseconds, over all waiters.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from claimwright.emulator import running

_WAITER = """
import sys, time
import pynvml as n
n.nvmlInit()
events = n.nvmlEventSetCreate()
for index in range(n.nvmlDeviceGetCount()):
    n.nvmlDeviceRegisterEvents(n.nvmlDeviceGetHandleByIndex(index), n.nvmlEventTypeXidCriticalError, events)
print("ready", flush=True)
while True:
    n.nvmlEventSetWait_v2(events, 60_000)
    moment = time.monotonic_ns()
    print(moment, flush=True)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--waiters", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        os.environ["XDG_STATE_HOME"] = state
        node = running.up("hgx-h100", name="wakeup")
        try:
            print(json.dumps(measure(node, given.events, given.waiters)))
        finally:
            running.down("wakeup")


def measure(node: running.RunningNode, events: int, waiters: int) -> dict[str, float]:
    """Return the figures of one run."""
    environment = {**os.environ, **node.environment}
    command = [sys.executable, "-W", "ignore", "-c", _WAITER]
    waiting = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(waiters)
    ]
    try:
        for process in waiting:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        taken = sorted(delay for _ in range(events) for delay in _one(node, waiting))
    finally:
        for process in waiting:
            process.kill()
            process.communicate()
    return {
        "events": events,
        "waiters": waiters,
        "p50_ms": round(statistics.median(taken), 3),
        "p99_ms": round(taken[int(len(taken) * 0.99)], 3),
        "worst_ms": round(taken[-1], 3),
    }


def _one(node: running.RunningNode, waiting: list[subprocess.Popen[str]]) -> list[float]:
    time.sleep(0.002)  # let every waiter sleep again
    started = time.monotonic_ns()
    node.call("report_xid", gpu=3, code=79)
    delays = []
    for process in waiting:
        assert process.stdout is not None
        delays.append((int(process.stdout.readline()) - started) / 1e6)
    return delays


if __name__ == "__main__":
    main()
