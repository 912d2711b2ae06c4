"""What a checkpoint says, as values. Version 2 is preferred; version 1 has completed claims only, without names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from claimwright.driver.checkpoints.checksum import CorruptCheckpoint, verify

# Both become names of files or folders that are removed.
_UID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DAEMON: Final = re.compile(r"[A-Za-z0-9-]{1,128}-[0-9a-f]{5}")
_STARTED: Final = "PrepareStarted"
_COMPLETED: Final = "PrepareCompleted"
# Of ComputeDomains: a claim that is released, kept for a while so that nothing prepares it late.
_ABORTED: Final = "PrepareAborted"
_KINDS: Final = ("gpu", "mig", "vfio", "channel", "daemon")


@dataclass(frozen=True)
class CheckpointDevice:
    """One prepared device. `pci_address` is known of VFIO devices and, in newer files, of partitions.

    `time_sliced` is None where the file does not say whether a time slice was set; `mps` names an MPS daemon.
    """

    kind: str
    device: str
    pool: str
    requests: tuple[str, ...]
    cdi_ids: tuple[str, ...]
    gpu_uuid: str = ""
    pci_address: str = ""
    share_id: str | None = None
    time_sliced: bool | None = None
    mps: str = ""


@dataclass(frozen=True)
class CheckpointClaim:
    """One claim; name and namespace are empty where the file does not have them."""

    uid: str
    completed: bool
    status: Mapping[str, Any]
    devices: tuple[CheckpointDevice, ...] = ()
    name: str = ""
    namespace: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """A whole file; `boot_id` is empty where it does not say."""

    claims: tuple[CheckpointClaim, ...] = field(default=())
    boot_id: str = ""


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Read a file; None when there is none, CorruptCheckpoint when it cannot be trusted."""
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise CorruptCheckpoint(f"{path} is no text: {error}") from error
    try:
        return _checkpoint(verify(text))
    except CorruptCheckpoint as error:
        raise CorruptCheckpoint(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptCheckpoint(f"{path} makes no sense: {error!r}") from error


def _checkpoint(document: Mapping[str, Any]) -> Checkpoint:
    newer = document.get("v2")
    content = newer or document.get("v1") or {}
    claims = (content.get("preparedClaims") or {}).items()
    return Checkpoint(
        claims=tuple(
            _claim(str(uid), item, named=bool(newer))
            for uid, item in claims
            if not (newer and item.get("checkpointState") == _ABORTED)
        ),
        boot_id=str(content.get("nodeBootID") or ""),
    )


def _claim(uid: str, item: Mapping[str, Any], *, named: bool) -> CheckpointClaim:
    if not _UID.fullmatch(uid):
        raise CorruptCheckpoint(f"claim uid {uid!r}: expected letters, digits, -, . and _")
    state = item.get("checkpointState") if named else _COMPLETED
    if state not in (_STARTED, _COMPLETED):
        raise CorruptCheckpoint(f"claim {uid} has state {state!r}; expected {_STARTED} or {_COMPLETED}")
    return CheckpointClaim(
        uid=uid,
        completed=state == _COMPLETED,
        status=dict(item.get("status") or {}),
        devices=tuple(_devices(item.get("preparedDevices") or ())),
        name=str(item.get("name") or ""),
        namespace=str(item.get("namespace") or ""),
    )


def _devices(groups: Any) -> Iterator[CheckpointDevice]:  # noqa: ANN401  JSON
    for group in groups:
        setting = group.get("configState") or {}
        for item in group.get("devices") or ():
            kind, content = next((kind, item[kind]) for kind in _KINDS if item.get(kind))
            yield _device(kind, content, setting)


def _device(kind: str, content: Mapping[str, Any], setting: Mapping[str, Any]) -> CheckpointDevice:
    daemon = str(setting.get("mpsControlDaemonID") or "")
    if daemon and not _DAEMON.fullmatch(daemon):
        raise CorruptCheckpoint(
            f"mpsControlDaemonID {daemon!r}: expected a claim's uid, - and five hexadecimal digits"
        )
    device, about = content["device"], content.get("info") or content.get("concrete") or {}
    return CheckpointDevice(
        kind=kind,
        device=str(device["DeviceName"]),
        pool=str(device["PoolName"]),
        requests=tuple(str(request) for request in device.get("Requests") or ()),
        cdi_ids=tuple(str(cdi_id) for cdi_id in device.get("CDIDeviceIDs") or ()),
        gpu_uuid=str(about.get("parentUUID") or about.get("uuid") or ""),
        pci_address=str(about.get("pciBusID") or about.get("parentPCIBusID") or "").lower(),
        share_id=device.get("ShareID"),
        time_sliced=setting.get("timeSliceApplied"),
        mps=daemon,
    )
