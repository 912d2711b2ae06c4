"""Removing folders of daemons that no claim has, once their domain is gone."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from claimwright.driver.computedomain.plugin.domains import Domains
from claimwright.driver.computedomain.plugin.steps import domain_folder
from claimwright.driver.errors import NotYet
from claimwright.driver.machine import Machine

logger = logging.getLogger(__name__)


def sweep_folders(folder: Path, machine: Machine, domains: Domains) -> None:
    """Remove what a driver left there that lost its journal; not while another instance has the node.

    A daemon that no claim knows of may run all the same, as long as its domain is there.
    """
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
        if path.name not in known and _is_gone(domains, path.name):
            logger.info("removing the folder of a daemon that no claim has: %s", path)
            shutil.rmtree(path, ignore_errors=True)


def _is_gone(domains: Domains, uid: str) -> bool:
    try:
        return domains.find(uid) is None
    except NotYet as error:
        logger.warning("the folder of domain %s stays for now: %s", uid, error)
        return False
