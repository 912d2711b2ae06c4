"""What NVML's fabric info says of one GPU."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

ZERO_CLUSTER = "00000000-0000-0000-0000-000000000000"


class FabricState(IntEnum):
    """`nvmlGpuFabricState_t`; a GPU without a fabric (0) has no `Fabric` at all."""

    NOT_STARTED = 1
    IN_PROGRESS = 2
    COMPLETED = 3


class FabricMisconfiguration(IntEnum):
    """`NVML_GPU_FABRIC_HEALTH_MASK_INCORRECT_CONFIGURATION_*` (nvml.h 13.5)."""

    NOT_SUPPORTED = 0
    NONE = 1
    SYSTEM_GUID = 2
    CHASSIS_SERIAL = 3
    NO_PARTITION = 4
    INSUFFICIENT_NVLINKS = 5
    INCOMPATIBLE_FIRMWARE = 6
    INVALID_LOCATION = 7
    GPU_STATE_INVALID = 8


class HealthSummary(IntEnum):
    """`NVML_GPU_FABRIC_HEALTH_SUMMARY_*`."""

    NOT_SUPPORTED = 0
    HEALTHY = 1
    UNHEALTHY = 2
    LIMITED_CAPACITY = 3


def _pair(truth: bool | None) -> int:
    """Encode one 2-bit field: 0 not supported, 1 true, 2 false."""
    return 0 if truth is None else 1 if truth else 2


@dataclass(frozen=True, slots=True)
class FabricHealth:
    """The fields of the health mask; None where the hardware does not report one."""

    degraded_bandwidth: bool | None = None
    route_recovery: bool | None = None
    route_unhealthy: bool | None = None
    access_timeout_recovery: bool | None = None
    misconfiguration: FabricMisconfiguration = FabricMisconfiguration.NOT_SUPPORTED
    partition_assigned: bool | None = None

    @property
    def mask(self) -> int:
        """NVML's 32-bit health mask."""
        pairs = (
            self.degraded_bandwidth,
            self.route_recovery,
            self.route_unhealthy,
            self.access_timeout_recovery,
        )
        mask = sum(_pair(truth) << 2 * place for place, truth in enumerate(pairs))
        return mask | int(self.misconfiguration) << 8 | _pair(self.partition_assigned) << 12

    @property
    def summary(self) -> HealthSummary:
        """What NVML sums the fields up to: faults make unhealthy, less bandwidth is limited capacity."""
        if self == FabricHealth():
            return HealthSummary.NOT_SUPPORTED
        wrong = self.misconfiguration > FabricMisconfiguration.NONE
        if wrong or self.route_unhealthy or self.route_recovery or self.access_timeout_recovery:
            return HealthSummary.UNHEALTHY
        return HealthSummary.LIMITED_CAPACITY if self.degraded_bandwidth else HealthSummary.HEALTHY


HEALTHY = FabricHealth(
    degraded_bandwidth=False,
    route_recovery=False,
    route_unhealthy=False,
    access_timeout_recovery=False,
    misconfiguration=FabricMisconfiguration.NONE,
)


@dataclass(frozen=True, slots=True)
class Fabric:
    """The GPU's place in an NVLink fabric; `status` is an NVML return code, meaningful once COMPLETED.

    The same non-zero cluster uuid is the same NVLink domain; with the same clique id GPUs can share memory. An
    all-zero cluster uuid says that the fabric does not leave the node.
    """

    state: FabricState
    cluster_uuid: str
    clique_id: int
    status: int = 0
    health: FabricHealth = FabricHealth()

    @property
    def cluster_bytes(self) -> bytes:
        """The cluster uuid as NVML's 16 bytes."""
        return bytes.fromhex(self.cluster_uuid.replace("-", ""))

    @property
    def clique(self) -> str | None:
        """`<cluster uuid>.<clique id>` as drivers label it; None while the GPU is in no multi-node domain."""
        attached = self.state is FabricState.COMPLETED and self.status == 0
        return (
            f"{self.cluster_uuid}.{self.clique_id}"
            if attached and self.cluster_uuid != ZERO_CLUSTER
            else None
        )
