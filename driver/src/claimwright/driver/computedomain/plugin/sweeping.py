"""Removing folders of daemons that no claim has."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from claimwright.driver.computedomain.plugin.steps import domain_folder
from claimwright.driver.machine import Machine

logger = logging.getLogger(__name__)


def sweep_folders(folder: Path, machine: Machine) -> None:
    """Remove what a killed driver left there; not while another instance has the node."""
    if not machine.in_charge or not folder.is_dir():
        return
    found = sorted(
        folder.iterdir()
    )  # before the claims are asked for: a new one records itself, then makes its folder
    tool = domain_folder("").tool
    known = {
        step.arguments["domain"] for entry in machine.entries for step in entry.steps if step.tool == tool
    }
    for path in found:
        if path.name not in known:
            logger.info("removing the folder of a daemon that no claim has: %s", path)
            shutil.rmtree(path, ignore_errors=True)
