"""A daemon's folder on the node as a step: what nvidia-imex reads and writes is in it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from claimwright.driver.steps import Probe, Step

TOOL: Final = "domain-folder"


def domain_folder(domain_uid: str) -> Step:
    """Have an empty folder for a domain's daemon."""
    return Step(TOOL, {"domain": domain_uid})


class DomainFolderTool:
    """Makes and removes folders of domains in `folder`."""

    name = TOOL
    visible = True
    recorded = False
    refreshes = False
    quick = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, domain_uid: str) -> Path:
        """Return a domain's folder."""
        return self._folder / domain_uid

    def do(self, step: Step) -> None:
        """Make it; one that is there stays as it is: a running daemon may use it."""
        self._at(step).mkdir(mode=0o755, parents=True, exist_ok=True)

    def undo(self, step: Step) -> None:
        """Remove it with all that the daemon left."""
        if self._at(step).exists():
            shutil.rmtree(self._at(step))

    def probe(self, step: Step) -> Probe:
        """Look for it."""
        return Probe.DONE if self._at(step).is_dir() else Probe.NOT_DONE

    def _at(self, step: Step) -> Path:
        return self.of(step.arguments["domain"])
