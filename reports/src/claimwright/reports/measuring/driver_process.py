"""The driver's process tree: started and stopped by us where asked, its memory and time read from /proc."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from claimwright.reports.errors import TargetError

STOP_SECONDS = 10.0
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process and its descendants: VmRSS in bytes, processor time in seconds, and how many they are."""

    rss_bytes: int
    cpu_seconds: float
    processes: int


def usage(pid: int, *, proc: Path = _PROC) -> Usage:
    """Read a process tree; a process that is gone is an error that names it."""
    tree = [pid, *_descendants(pid, proc)]
    measured = [found for member in tree if (found := _one(member, proc)) is not None]
    if not measured:
        raise TargetError(
            f"driver process {pid} is not there; has it ended? Give the present one with --driver-pid"
        )
    return Usage(sum(rss for rss, _ in measured), sum(cpu for _, cpu in measured), len(measured))


class StartedDriver:
    """A driver that this run started, in its own process group; its output goes to a file."""

    def __init__(self, command: Sequence[str], log: IO[bytes]) -> None:
        self._log_name = log.name
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise TargetError(f"cannot start the driver, {command[0]!r}: {error.strerror}") from error

    @property
    def pid(self) -> int:
        """The process id, as this machine's measuring process sees it."""
        return self._process.pid

    def check(self) -> None:
        """Raise if it has ended, with the end of its output."""
        if (code := self._process.poll()) is not None:
            tail = Path(self._log_name).read_text("utf-8", errors="replace").strip().splitlines()[-5:]
            raise TargetError(
                f"the driver ended with status {code} while it was measured; all its output is in "
                f"{self._log_name}, "
                f"which ends with:\n" + "\n".join(tail)
            )

    def stop(self) -> None:
        """End it by SIGTERM, and by SIGKILL after the deadline; twice is fine."""
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait(STOP_SECONDS)


@contextmanager
def started(command: Sequence[str], log_path: Path) -> Iterator[StartedDriver]:
    """Run a driver for a while; it is gone at the end."""
    with log_path.open("ab") as log:
        driver = StartedDriver(command, log)
        try:
            yield driver
        finally:
            driver.stop()


def _descendants(pid: int, proc: Path) -> Iterator[int]:
    for children in sorted(proc.glob(f"{pid}/task/*/children")):
        try:
            found = [int(child) for child in children.read_text().split()]
        except OSError:
            continue
        for child in found:
            yield child
            yield from _descendants(child, proc)


def _one(pid: int, proc: Path) -> tuple[int, float] | None:
    try:
        status = (proc / str(pid) / "status").read_text()
        # proc(5): the command may hold spaces and brackets, the fields count from the last bracket.
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    rss = next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:")), 0)
    return rss, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
