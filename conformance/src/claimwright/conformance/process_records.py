"""Which driver processes a run started: written down, so that `cleanup` can end them after a kill of the suite.

A pid alone may belong to somebody else by then; the start time beside it tells.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from claimwright.dra.files import write_atomically


@dataclass(frozen=True, slots=True)
class ProcessRecords:
    """The records of one run, one file per living process."""

    folder: Path

    @classmethod
    def of_run(cls, run_id: str) -> ProcessRecords:
        """Return the records of a run, in the user's state folder."""
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        return cls(state / "claimwright" / "conformance" / run_id)

    def enter(self, pid: int, work: Path) -> None:
        """Write down a process that was just started, and the folder it works in."""
        self.folder.mkdir(parents=True, exist_ok=True)
        record = {"pid": pid, "started": started_ticks(pid), "work": str(work)}
        write_atomically(self.folder / f"{pid}.json", json.dumps(record), durable=False)

    def strike(self, pid: int) -> None:
        """Forget a process that has ended; the last one takes the run's folder along."""
        (self.folder / f"{pid}.json").unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def sweep(self) -> list[str]:
        """End every recorded process that still is the recorded one, and remove its folder."""
        return [line for path in sorted(self.folder.glob("*.json")) for line in self._sweep_one(path)]

    def _sweep_one(self, path: Path) -> list[str]:
        record = json.loads(path.read_bytes())
        done = []
        if started_ticks(record["pid"]) == record["started"] is not None:
            os.killpg(record["pid"], signal.SIGKILL)
            done.append(f"process {record['pid']}")
        work = Path(record["work"])
        if work.name.startswith("cw-") and work.is_dir():
            shutil.rmtree(work, ignore_errors=True)
            done.append(f"folder {work}")
        self.strike(record["pid"])
        return done


def started_ticks(pid: int) -> int | None:
    """Return the start time of a process in clock ticks since boot (proc(5), field 22); None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])
