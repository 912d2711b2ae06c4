"""The kubelet's plugin APIs on the wire: service names, messages to and from values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypeAlias

from claimwright.dra._generated import dra_v1_pb2, dra_v1beta1_pb2, health_v1_pb2, health_v1alpha1_pb2
from claimwright.dra.claims import ClaimReference, ClaimUid
from claimwright.dra.prepared import DeviceHealth, Health, PreparedDevice

DraVersion = Literal["v1", "v1beta1"]
HealthVersion = Literal["v1", "v1alpha1"]
PLUGIN_TYPE: Final = "DRAPlugin"
# Newest first, as the kubelet keeps them.
DRA_VERSIONS: Final[tuple[DraVersion, ...]] = ("v1", "v1beta1")
HEALTH_VERSIONS: Final[tuple[HealthVersion, ...]] = ("v1", "v1alpha1")
# Per kubelet: a call for one claim or for many has this long.
CALL_DEADLINE_SECONDS: Final = 45.0

PrepareOutcome: TypeAlias = tuple[PreparedDevice, ...] | str
PrepareResponse: TypeAlias = (
    dra_v1_pb2.NodePrepareResourcesResponse | dra_v1beta1_pb2.NodePrepareResourcesResponse
)
UnprepareResponse: TypeAlias = (
    dra_v1_pb2.NodeUnprepareResourcesResponse | dra_v1beta1_pb2.NodeUnprepareResourcesResponse
)
WireClaim: TypeAlias = dra_v1_pb2.Claim | dra_v1beta1_pb2.Claim
WireDevice: TypeAlias = dra_v1_pb2.Device | dra_v1beta1_pb2.Device
HealthResponse: TypeAlias = (
    health_v1_pb2.NodeWatchResourcesResponse | health_v1alpha1_pb2.NodeWatchResourcesResponse
)
_HEALTH_NUMBERS: Final[dict[Health, int]] = {"Unknown": 0, "Healthy": 1, "Unhealthy": 2}
_HEALTH_NAMES: Final[dict[int, Health]] = {number: name for name, number in _HEALTH_NUMBERS.items()}


def dra_service_name(version: DraVersion) -> str:
    """Give the name that a plugin advertises for a DRA version."""
    return f"{version}.DRAPlugin"


def health_service_name(version: HealthVersion) -> str:
    """Give the name that a plugin advertises for a health version."""
    return f"{version}.DRAResourceHealth"


def references_of(claims: Iterable[WireClaim]) -> tuple[ClaimReference, ...]:
    """Read the claims of a request, each uid once."""
    found = {claim.uid: ClaimReference(claim.namespace, claim.name, ClaimUid(claim.uid)) for claim in claims}
    return tuple(found.values())


def prepared_device(device: WireDevice) -> PreparedDevice:
    """Read a device of a reply; v1beta1 has no share id."""
    share_id = None
    if isinstance(device, dra_v1_pb2.Device) and device.HasField("share_id"):
        share_id = device.share_id
    return PreparedDevice(
        requests=tuple(device.request_names),
        pool=device.pool_name,
        device=device.device_name,
        cdi_ids=tuple(device.cdi_device_ids),
        share_id=share_id,
    )


def v1_device(device: PreparedDevice) -> dra_v1_pb2.Device:
    """Write a device for DRA v1."""
    return dra_v1_pb2.Device(
        request_names=device.requests,
        pool_name=device.pool,
        device_name=device.device,
        cdi_device_ids=device.cdi_ids,
        share_id=device.share_id,
    )


def v1beta1_device(device: PreparedDevice) -> dra_v1beta1_pb2.Device:
    """Write a device for DRA v1beta1, which drops the share id."""
    return dra_v1beta1_pb2.Device(
        request_names=device.requests,
        pool_name=device.pool,
        device_name=device.device,
        cdi_device_ids=device.cdi_ids,
    )


def v1_health(devices: Sequence[DeviceHealth]) -> health_v1_pb2.NodeWatchResourcesResponse:
    """Write the health of all devices; v1alpha1 has the same bytes."""
    return health_v1_pb2.NodeWatchResourcesResponse(
        devices=[
            health_v1_pb2.DeviceHealth(
                device=health_v1_pb2.DeviceIdentifier(pool_name=item.pool, device_name=item.device),
                health=health_v1_pb2.HealthStatus.ValueType(_HEALTH_NUMBERS[item.health]),
                last_updated_time=item.updated_unix_seconds,
                health_check_timeout_seconds=item.timeout_seconds,
                message=item.message,
            )
            for item in devices
        ]
    )


def device_healths(response: HealthResponse) -> tuple[DeviceHealth, ...]:
    """Read a health message; an unknown status number is Unknown."""
    return tuple(
        DeviceHealth(
            pool=item.device.pool_name,
            device=item.device.device_name,
            health=_HEALTH_NAMES.get(item.health, "Unknown"),
            message=item.message,
            timeout_seconds=item.health_check_timeout_seconds,
            updated_unix_seconds=item.last_updated_time,
        )
        for item in response.devices
    )
