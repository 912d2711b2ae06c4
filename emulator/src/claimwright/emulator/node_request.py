"""What `up` hands to the node process: the state to begin with, built and checked, so that neither is done twice."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

from claimwright.emulator.model import NodeState


@dataclass(frozen=True, slots=True)
class Request:
    """A node to be; `why_files_only_show` is None for files that act."""

    state: NodeState
    mount_namespace: Path | None
    why_files_only_show: str | None

    def packed(self) -> bytes:
        """Return it as bytes for a process of the same version."""
        return pickle.dumps(self, pickle.HIGHEST_PROTOCOL)

    @classmethod
    def unpacked(cls, data: bytes) -> Request:
        """Return what was packed. `data` must come from this user: a pickle can run code."""
        found = pickle.loads(data)  # noqa: S301 - a file of mode 0600 that `up` wrote for this process
        assert isinstance(found, cls)
        return found
