"""What a node remembers of the claims on it, and its form in the kubelet's checkpoint file.

Format (pkg/kubelet/cm/dra/state of Kubernetes): `{"Data": "<json>", "Checksum": crc32-IEEE(Data)}`.
`prepared` is memory only: after a restart the driver is asked again, and has to answer the same.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from claimwright.dra.claims import ClaimReference, ClaimUid, DriverName
from claimwright.dra.prepared import PreparedDevice
from claimwright.emulator.kubelet.errors import CheckpointCorrupt
from claimwright.emulator.kubelet.pods import JsonObject, PodUid

KIND = "DRACheckpoint"
API_VERSION = "checkpoint.dra.kubelet.k8s.io/v1"


@dataclass(frozen=True)
class ClaimState:
    """One claim on this node: who uses it here, and what its drivers answered.

    Every driver of the allocation has a key in `devices`, also one that gave no device: it is unprepared too.
    """

    reference: ClaimReference
    pods: frozenset[PodUid]
    devices: Mapping[DriverName, tuple[PreparedDevice, ...]]
    skip_unprepare: frozenset[DriverName] = frozenset()
    prepared: bool = field(default=False, compare=False)

    def used_by(self, pod: PodUid) -> ClaimState:
        """Return the state with one more user."""
        return replace(self, pods=self.pods | {pod})

    def left_by(self, pod: PodUid) -> ClaimState:
        """Return the state with one user less."""
        return replace(self, pods=self.pods - {pod})

    def cdi_ids(self, request: str | None) -> tuple[str, ...]:
        """Return the CDI ids that a container gets for this request, in the drivers' order."""
        return tuple(cdi_id for _, device in self.granted(request) for cdi_id in device.cdi_ids)

    def granted(self, request: str | None) -> Iterable[tuple[DriverName, PreparedDevice]]:
        """Walk the devices of a container entry with this request (None: whole claim), with drivers."""
        for driver, devices in sorted(self.devices.items()):
            for device in devices:
                if request is None or not device.requests or request in device.requests:
                    yield driver, device


def encode_checkpoint(states: Iterable[ClaimState]) -> str:
    """Write the checkpoint's text for these claims."""
    ordered = sorted(states, key=lambda state: (state.reference.namespace, state.reference.name))
    document = {"kind": KIND, "apiVersion": API_VERSION, "Entries": [_entry(state) for state in ordered]}
    data = json.dumps(document, separators=(",", ":"))
    return json.dumps({"Data": data, "Checksum": zlib.crc32(data.encode())}, separators=(",", ":"))


def decode_checkpoint(text: str, source: str) -> tuple[ClaimState, ...]:
    """Read a checkpoint's text; `CheckpointCorrupt` names `source` and what is wrong."""
    try:
        envelope = json.loads(text)
        data, checksum = envelope["Data"], envelope["Checksum"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointCorrupt(f"{source} is no kubelet checkpoint: {error!r}. {_ADVICE}") from error
    found = zlib.crc32(str(data).encode())
    if found != checksum:
        raise CheckpointCorrupt(f"{source}: checksum is {found}, expected {checksum}. {_ADVICE}")
    try:
        return tuple(_state(entry) for entry in json.loads(data)["Entries"] or ())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointCorrupt(f"{source} has an entry that cannot be read: {error!r}. {_ADVICE}") from error


_ADVICE = "Remove the file to start without claims; their drivers then keep what they prepared."


def _entry(state: ClaimState) -> JsonObject:
    entry: JsonObject = {
        "ClaimUID": state.reference.uid,
        "ClaimName": state.reference.name,
        "Namespace": state.reference.namespace,
        "PodUIDs": {uid: {} for uid in sorted(state.pods)},
        "DriverState": {
            driver: {"Devices": [_device_entry(device) for device in devices]}
            for driver, devices in sorted(state.devices.items())
        },
    }
    if state.skip_unprepare:
        entry["SkipUnprepare"] = sorted(state.skip_unprepare)  # ours; a kubelet ignores unknown keys
    return entry


def _device_entry(device: PreparedDevice) -> JsonObject:
    entry: JsonObject = {
        "PoolName": device.pool,
        "DeviceName": device.device,
        "RequestNames": list(device.requests),
        "CDIDeviceIDs": list(device.cdi_ids),
    }
    if device.share_id is not None:
        entry["ShareID"] = device.share_id
    return entry


def _state(entry: JsonObject) -> ClaimState:
    reference = ClaimReference(entry["Namespace"], entry["ClaimName"], ClaimUid(entry["ClaimUID"]))
    return ClaimState(
        reference=reference,
        pods=frozenset(PodUid(uid) for uid in entry.get("PodUIDs") or ()),
        devices={
            DriverName(driver): tuple(_device(device) for device in state.get("Devices") or ())
            for driver, state in (entry.get("DriverState") or {}).items()
        },
        skip_unprepare=frozenset(DriverName(driver) for driver in entry.get("SkipUnprepare") or ()),
    )


def _device(entry: JsonObject) -> PreparedDevice:
    return PreparedDevice(
        pool=entry["PoolName"],
        device=entry["DeviceName"],
        requests=tuple(entry.get("RequestNames") or ()),
        cdi_ids=tuple(entry.get("CDIDeviceIDs") or ()),
        share_id=entry.get("ShareID"),
    )
