"""The environment block: what a number was taken on, so that it can be judged and repeated.

Everything is read from the kernel's own files and from the API; what cannot be read is left out, never
guessed.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Literal

from claimwright.reports.statistics import quantile

Hardware = Literal["emulated", "real"]
FSYNC_WRITES = 100
FSYNC_BUDGET_SECONDS = 2.0
_GIT_TIMEOUT_SECONDS = 5.0


def capture(
    *,
    hardware: Hardware,
    run: str,
    state_dir: Path,
    command: Sequence[str],
    settings: Mapping[str, Any],
    target: Mapping[str, Any],
) -> dict[str, Any]:
    """Take the block at the start of a run.

    `settings` are those of the run (counts, repetitions, warm-up), `target` is what the cluster said about
    itself and the node. Writes and fsyncs a small file under `state_dir` for up to `FSYNC_BUDGET_SECONDS`,
    and removes it.
    """
    return {
        "hardware": hardware,
        "run": run,
        "captured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "state_dir": {"filesystem": filesystem(state_dir), **fsync_cost(state_dir)},
        "versions": versions(),
        "git": git_state(),
        "clock": {
            "name": "CLOCK_MONOTONIC",
            "resolution_ns": round(time.get_clock_info("monotonic").resolution * 1e9),
        },
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "settings": dict(settings),
        "target": dict(target),
        "commands": [list(command)],
    }


def machine() -> dict[str, Any]:
    """Describe the processor, the memory and the kernel of this machine; no name, no address."""
    cpuinfo = _read("/proc/cpuinfo")
    return {
        "cpu": _field(cpuinfo, "model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "cores_usable": len(os.sched_getaffinity(0)),
        "cores": os.cpu_count(),
        "cpu_quota": _cpu_quota(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
        "smt": {"1": True, "0": False}.get(_read("/sys/devices/system/cpu/smt/active").strip()),
        "memory_bytes": _kilobytes(_read("/proc/meminfo"), "MemTotal"),
        "kernel": platform.release(),
        "system": _field(_read("/etc/os-release").replace("=", ":"), "PRETTY_NAME").strip('"') or None,
        "cgroup": "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1",
        "virtual_machine": " hypervisor" in _field(cpuinfo, "flags"),
        "container": Path("/.dockerenv").exists() or Path("/run/.containerenv").exists(),
    }


def fsync_cost(folder: Path) -> dict[str, Any]:
    """Time a 4 KiB append and fsync in `folder`: every journalled prepare pays it at least once."""
    folder.mkdir(parents=True, exist_ok=True)
    durations: list[float] = []
    until = time.monotonic() + FSYNC_BUDGET_SECONDS
    # A leading dot keeps watchers of plugin folders from looking at it.
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".claimwright-fsync-", buffering=0) as file:
        while len(durations) < FSYNC_WRITES and time.monotonic() < until:
            began = time.monotonic_ns()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            durations.append((time.monotonic_ns() - began) / 1e3)
    durations.sort()
    return {
        "fsync_p50_us": round(quantile(durations, 0.5), 1),
        "fsync_max_us": round(durations[-1], 1),
        "fsync_writes": len(durations),
    }


def filesystem(folder: Path) -> str:
    """Name the filesystem type that `folder` is on, by the longest mount point above it."""
    wanted = folder.resolve()
    best, kind = -1, "unknown"
    for line in _read("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        point = Path(left.split()[4].replace("\\040", " "))
        if (wanted == point or point in wanted.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), right.split()[0]
    return kind


def versions() -> dict[str, str]:
    """List the versions of this project's rooms and of what carries a call."""
    carried = {"grpcio", "protobuf", "kubernetes", "urllib3"}
    found = {
        name: distribution.version
        for distribution in distributions()
        if (name := distribution.name.lower()).startswith("claimwright-") or name in carried
    }
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        **dict(sorted(found.items())),
    }


def git_state() -> dict[str, Any] | None:
    """Name the commit that this code runs from, and whether it was changed; None outside a checkout."""
    here = Path(__file__).parent
    commit = _git(here, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git(here, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit.strip(), "dirty": changes is None or bool(changes.strip())}


def command_line() -> list[str]:
    """Give the command as it was typed, its program by its plain name."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def summary(environment: Mapping[str, Any]) -> str:
    """Put the machine in one line, for captions."""
    found = environment["machine"]
    memory = f"{found['memory_bytes'] / 1e9:.0f} GB" if found.get("memory_bytes") else "memory unknown"
    return f"{found['cpu']}, {found['cores_usable']} cores, {memory}, Linux {found['kernel']}"


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _cpu_quota() -> float | None:
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").strip().partition(" ")
    if not period:
        quota, period = (
            _read(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us").strip() for name in ("quota", "period")
        )
    with suppress(ValueError, ZeroDivisionError):
        if (cores := int(quota) / int(period)) > 0:
            return round(cores, 2)
    return None


def _kilobytes(text: str, name: str) -> int | None:
    value = _field(text, name).removesuffix("kB").strip()
    return int(value) * 1024 if value.isdigit() else None


def _field(text: str, name: str) -> str:
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", errors="replace")
    except OSError:
        return ""
