"""What a local cluster makes outside its own folder and processes, written down before it is made."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from claimwright.cluster import folders, state
from claimwright.cluster.files import write_atomically
from claimwright.cluster.local import cgroups

_JOURNAL = "journal.json"


@dataclass(frozen=True)
class Journal:
    """Traces on the machine. All of them follow from the folder's path, so a lost journal loses nothing."""

    cgroup: str
    alias: str

    @classmethod
    def for_folder(cls, folder: Path) -> Journal:
        """Return what a cluster in `folder` makes."""
        identity = hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]
        return cls(cgroups.cluster_path(identity), str(folders.short_folder(folder)))

    def write(self, folder: Path) -> None:
        """Write down what will be made."""
        write_atomically(folder / _JOURNAL, json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> Journal:
        """Return what was made; a missing or broken journal is replaced by what follows from the path."""
        derived = cls.for_folder(folder)
        content = state.read_object(folder / _JOURNAL)
        # Only names of our own shape are ever removed, whatever the file says.
        return derived if content != asdict(derived) else cls(**content)
