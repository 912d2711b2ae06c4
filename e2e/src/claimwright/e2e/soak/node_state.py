"""All that claims change on a node: what must be there again when all of them are released."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from claimwright.driver.journal import load
from claimwright.e2e.driven_node import DRIVER, DrivenNode
from claimwright.e2e.hardware import hardware


def world(node: DrivenNode) -> dict[str, Any]:
    """Return the node's hardware, its files, its mounts and its processes."""
    folder = str(node.folder)
    plugin = node.plugins / DRIVER
    return {
        **hardware(node.node),
        "virtual functions": sorted(path.name for path in _virtual_functions(node)),
        "CDI files": sorted(path.name for path in node.cdi_root.iterdir()),
        "metadata": sorted(map(str, plugin.glob("dra-device-metadata/*"))),
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if folder in line],
        "MPS": sorted(path.name for path in (plugin / "mps").glob("*")),
        "processes": _daemons(folder),
    }


def remembered(node: DrivenNode) -> list[str]:
    """Return the claims that the driver's journal holds."""
    loaded = load(node.plugins / DRIVER / "claims.journal", DRIVER)
    return list(loaded.entries) if loaded else []


def differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Say what is not as it was."""
    return [f"{key}: {now[key]!r}, was {before.get(key)!r}" for key in now if now[key] != before.get(key)]


def _virtual_functions(node: DrivenNode) -> list[Path]:
    return list((node.node.host_root / "sys/bus/pci/devices").glob("*/virtfn*"))


def _daemons(folder: str) -> list[str]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            words = process.cmdline()
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
            if "mps" in " ".join(words) and folder.encode() in environment:
                found.append(" ".join(words))
    return sorted(found)
