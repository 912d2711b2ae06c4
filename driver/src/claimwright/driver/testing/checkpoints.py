"""Checkpoint files as the community driver writes them, for tests of taking over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from claimwright.driver.checkpoints import checksum

Json = dict[str, Any]


def device(name: str, cdi_id: str, *, pool: str, request: str = "gpu-0") -> Json:
    """Return what is the same for each kind of device."""
    return {"Requests": [request], "PoolName": pool, "DeviceName": name, "CDIDeviceIDs": [cdi_id]}


def group(kind: str, about: Json, device: Json, **setting: object) -> Json:
    """Return a group of one device; `setting` is its configState."""
    key = "concrete" if kind == "mig" else "info"
    content = {key: about, "device": device}
    if kind in ("channel", "daemon"):
        other = "daemon" if kind == "channel" else "channel"
        return {"devices": [{kind: content, other: None}], "configState": setting}
    both = {"gpu": content if kind == "gpu" else None, "mig": content if kind == "mig" else None}
    return {"devices": [{**both, **({"vfio": content} if kind == "vfio" else {})}], "configState": setting}


def completed(status: Mapping[str, Any], *groups: Json) -> Json:
    """Return a claim that was prepared; such entries have no name."""
    return {"checkpointState": "PrepareCompleted", "status": dict(status), "preparedDevices": list(groups)}


def started(status: Mapping[str, Any], name: str) -> Json:
    """Return a claim whose preparation began."""
    return {
        "checkpointState": "PrepareStarted",
        "status": dict(status),
        "name": name,
        "namespace": "default",
    }


def checkpoint(claims: Mapping[str, Json], *, boot_id: str = "", version: int = 2) -> bytes:
    """Return a file with right sums; version 1 is what releases before 0.3 wrote."""
    old = {
        uid: {key: item[key] for key in ("status", "preparedDevices")}
        for uid, item in claims.items()
        if item["checkpointState"] == "PrepareCompleted"
    }
    document: Json = {"checksum": 0, "v1": {"preparedClaims": old}}
    document["checksum"] = checksum(_go(document))
    if version > 1:
        newer: Json = {"checksum": 0, "preparedClaims": dict(claims), "nodeBootID": boot_id}
        newer["checksum"] = checksum(_go(newer))
        document["v2"] = newer
    return _go(document)


def _go(value: Json) -> bytes:
    """Encode as Go does: no spaces, and what HTML would take for itself escaped."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()
