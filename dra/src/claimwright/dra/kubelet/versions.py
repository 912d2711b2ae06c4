"""Which of a plugin's services a kubelet uses."""

from __future__ import annotations

from collections.abc import Sequence

from claimwright.dra.kubelet.errors import RegistrationFailed
from claimwright.dra.wire import (
    DRA_VERSIONS,
    HEALTH_VERSIONS,
    DraVersion,
    HealthVersion,
    dra_service_name,
    health_service_name,
)


def choose_dra_version(
    advertised: Sequence[str], *, supported: Sequence[DraVersion] = DRA_VERSIONS
) -> DraVersion:
    """Take the first of the plugin's services, in the plugin's order, that the kubelet knows.

    Health services in the list are passed over. Raises RegistrationFailed without an overlap, as the
    kubelet's plugin validation does.
    """
    known = {dra_service_name(version): version for version in supported}
    for name in advertised:
        if name in known:
            return known[name]
    raise RegistrationFailed(
        f"invalid supported gRPC versions {list(advertised)}: none of {', '.join(known)} is advertised"
    )


def choose_health_version(
    advertised: Sequence[str], *, supported: Sequence[HealthVersion] = HEALTH_VERSIONS
) -> HealthVersion | None:
    """Take the newest health service that both sides know (kubelet 1.37 and later); None without one."""
    return next((version for version in supported if health_service_name(version) in advertised), None)
