"""What was said between the suite and the driver, as JSON lines: evidence, never an equivalent."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Transcript:
    """Collects every gRPC call and API request of one check, with its time and its duration in seconds."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, started: float, **what: Any) -> None:  # noqa: ANN401 - JSON values
        """Enter one exchange that began at `started` (monotonic seconds)."""
        duration = round(time.monotonic() - started, 6)
        with self._lock:
            self.lines.append({"at": round(time.time(), 6), "kind": kind, "duration_s": duration, **what})

    def as_json_lines(self) -> str:
        """Return the transcript, one exchange a line."""
        return "".join(json.dumps(line, sort_keys=True) + "\n" for line in self.lines)

    def clear(self) -> None:
        """Start anew for the next check."""
        with self._lock:
            self.lines.clear()
